// Our own page: the same elements that any host product embeds, with the token from the address.

import "./elements/credits-usage.js";
import { wordsOf } from "./language.js";
import { Session } from "./session.js";

// The token is taken out of the address before anything else happens: it must not stay in history, bookmarks or screenshots.
const fragment = new URLSearchParams(location.hash.slice(1));
if (location.hash) history.replaceState(null, "", location.pathname + location.search);

// Somebody who pastes a new link into an open tab changes the fragment alone.
addEventListener("hashchange", () => location.reload());

// It lives in this page's memory and nowhere else, so the page stays while Stripe has a tab of its own.
const token = fragment.get("token");
const returnUrl = new URL("/usage/back.html", location.href).href;
const usage = document.querySelector("credits-usage");
const session = token ? new Session({ getToken: () => token, team: fragment.get("team"), returnUrl, newTab: true }) : null;
if (usage) {
  usage.lang = fragment.get("lang") ?? navigator.language; // whose numbers it has, also where its words are English
  const { language, text } = await wordsOf(usage);
  document.documentElement.lang = language;
  document.title = text("usage.title");
  usage.session = /** @type {Session} */ (session); // or null, which its setter takes: nobody is signed in
}
