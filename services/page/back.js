// Where Stripe sends people back to. The Usage page is open in another tab and asks the server itself; this one says goodbye.

import { wordsIn } from "./language.js";

const back = new URLSearchParams(location.search);
history.replaceState(null, "", location.pathname);
close(); // browsers allow it to a tab that a page has opened; in others the words stay
const { language, text } = await wordsIn(navigator.language);
document.documentElement.lang = language;
document.title = text("back.title");
document.querySelector("h1")?.replaceChildren(text(back.has("cancelled") ? "back.cancelled" : "back.thanks"));
document.querySelector("p")?.replaceChildren(text("back.close"));
