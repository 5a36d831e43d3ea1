// What a host product's page does with Creditwell: hand over tokens, ask for a price, and report what was made.

const { api } = document.body.dataset;
/** @type {typeof import("../../../../services/page/creditwell.js")} */
const { Session } = await import(`${api}/usage/creditwell.js`);

/**
 * A part of this page.
 *
 * @template {HTMLElement} Kind
 * @param {string} selector
 * @param {new () => Kind} kind
 */
function part(selector, kind) {
  const found = document.querySelector(selector);
  if (found instanceof kind) return found;
  throw new Error(`this page has no ${selector}`);
}

const who = part("#who", HTMLSelectElement);
const button = part("#generate", HTMLButtonElement);
const price = part("#quote", HTMLOutputElement);
const prompt = part("#prompt", HTMLTextAreaElement);
who.value = sessionStorage.getItem("who") ?? "mem_emil";
let session = signIn();
let turn = 0;

function signIn() {
  const member = who.value;
  sessionStorage.setItem("who", member); // a sign-in of the product's own, such as it is
  // Our own server knows who is signed in; the token lives for minutes, and is asked for anew when it ends.
  const getToken = async () => (await fetch(`/token?as=${member}`)).text();
  const signedIn = new Session({ getToken });
  for (const element of document.querySelectorAll("credit-balance")) element.session = signedIn;
  for (const element of document.querySelectorAll("credits-usage")) element.session = signedIn;
  signedIn.addEventListener("balance", quote);
  return signedIn;
}

const tier = () => part("#tiers input:checked", HTMLInputElement).value;

/** What would this image cost, and may the team have it? The answer of the API, in its own words. */
async function quote() {
  const mine = ++turn;
  const item = { feature: "ai_image.generate", quantity: "1", attributes: { tier: tier() } };
  const said = await session.send("POST", "/quotes", { items: [item] }).catch((/** @type {Error} */ problem) => problem);
  if (mine !== turn) return;
  button.disabled = said instanceof Error || !said.allowed;
  price.textContent = said instanceof Error ? said.message : inWords(said);
}

/** @param {Api.Quote} quote */
function inWords({ credits, items }) {
  const why = items[0]?.detail;
  return `${credits} ${credits === "1" ? "credit" : "credits"}${why ? `: ${why}` : ""}`;
}

async function generate() {
  button.disabled = true;
  const answer = await fetch("/generate", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ as: who.value, tier: tier() }),
  });
  if (answer.ok) part("#gallery", HTMLUListElement).prepend(imageOf(prompt.value, tier()));
  quote();
}

/**
 * A picture that only stands for one: three colours out of the prompt.
 *
 * @param {string} wish
 * @param {string} quality
 */
function imageOf(wish, quality) {
  const hue = Array.from(wish).reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 360, turn * 47);
  const colours = [0, 40, 190].map((more) => `hsl(${(hue + more) % 360} 60% 55%)`);
  const drawing = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><path fill="${colours[0]}" d="M0 0h4v4H0z"/><path fill="${colours[2]}" d="M0 2.500h4V4H0z"/><path fill="${colours[1]}" d="M1 2.500h2l-.5.6h-1zM2 .8v1.500h-.9z"/></svg>`;
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(drawing)}`;
  image.alt = `${wish} (${quality})`;
  const item = document.createElement("li");
  item.append(image);
  return item;
}

part("details", HTMLDetailsElement).open = new URLSearchParams(location.search).has("purchase"); // back from Stripe
who.addEventListener("change", () => {
  session = signIn();
  quote();
});
part("#tiers", HTMLFieldSetElement).addEventListener("change", quote);
button.addEventListener("click", generate);
quote();
