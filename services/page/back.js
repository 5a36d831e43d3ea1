// Where Stripe sends people back to. The Usage page is open in another tab and asks the server itself; this one says goodbye.

const back = new URLSearchParams(location.search);
if (back.has("cancelled")) document.querySelector("h1").textContent = "Nothing was charged";
history.replaceState(null, "", location.pathname);
close(); // browsers allow it to a tab that a page has opened; in others the words stay
