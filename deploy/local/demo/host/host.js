// What a host product's page does with Creditwell: hand over tokens, ask for a price, and report what was made.

const { api } = document.body.dataset;
const { Session } = await import(`${api}/usage/creditwell.js`);

const $ = (selector) => document.querySelector(selector);
let session = null;
let turn = 0;

function signIn() {
  const who = $("#who").value;
  sessionStorage.setItem("who", who); // a sign-in of the product's own, such as it is
  // Our own server knows who is signed in; the token lives for minutes, and is asked for anew when it ends.
  const getToken = async () => (await fetch(`/token?as=${who}`)).text();
  session = new Session({ getToken });
  for (const element of document.querySelectorAll("credit-balance, credits-usage")) element.session = session;
  session.addEventListener("balance", quote);
  quote();
}

const tier = () => $("#tiers input:checked").value;

/** What would this image cost, and may the team have it? The answer of the API, in its own words. */
async function quote() {
  const mine = ++turn;
  const item = { feature: "ai_image.generate", quantity: "1", attributes: { tier: tier() } };
  const said = await session.send("POST", "/quotes", { items: [item] }).catch((problem) => problem);
  if (mine !== turn) return;
  $("#generate").disabled = !said.allowed;
  const why = said.items?.[0].detail;
  $("#quote").textContent = said instanceof Error ? said.message : `${said.credits} ${said.credits === "1" ? "credit" : "credits"}${why ? `: ${why}` : ""}`;
}

async function generate() {
  $("#generate").disabled = true;
  const answer = await fetch("/generate", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ as: $("#who").value, tier: tier() }) });
  if (answer.ok) $("#gallery").prepend(imageOf($("#prompt").value, tier()));
  quote();
}

/** A picture that only stands for one: three colours out of the prompt. */
function imageOf(prompt, quality) {
  const hue = Array.from(prompt).reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, turn * 47);
  const colours = [0, 40, 190].map((more) => `hsl(${(hue + more) % 360} 60% 55%)`);
  const drawing = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><path fill="${colours[0]}" d="M0 0h4v4H0z"/><path fill="${colours[2]}" d="M0 2.500h4V4H0z"/><path fill="${colours[1]}" d="M1 2.500h2l-.5.6h-1zM2 .8v1.500h-.9z"/></svg>`;
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(drawing)}`;
  image.alt = `${prompt} (${quality})`;
  const item = document.createElement("li");
  item.append(image);
  return item;
}

$("#who").value = sessionStorage.getItem("who") ?? "mem_emil";
$("details").open = new URLSearchParams(location.search).has("purchase"); // back from Stripe
$("#who").addEventListener("change", signIn);
$("#tiers").addEventListener("change", quote);
$("#generate").addEventListener("click", generate);
signIn();
