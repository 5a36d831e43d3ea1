// Where Stripe sends people back to. The Usage page is open in another tab and asks the server itself; this one says goodbye.

const back = new URLSearchParams(location.search);
const title = document.querySelector("h1");
if (title && back.has("cancelled")) title.textContent = "Nothing was charged";
history.replaceState(null, "", location.pathname);
close(); // browsers allow it to a tab that a page has opened; in others the words stay
