// <buy-credits>: the way to the packs; members hear whom to ask.

import { askAnAdmin } from "../dialog.js";
import { h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { asked, failure } from "../loading.js";

export class BuyCredits extends CreditsElement {
  static live = false;

  /** @type {Element | null} */
  #failed = null;
  #button = h("button", { type: "button", class: "primary", part: "button", disabled: true, onclick: () => this.open() }, this.say("buy.title"));

  constructor() {
    super();
    this.root.append(this.#button);
  }

  begin() {
    this.#button.disabled = false;
  }

  /** Show the packs, or whom to ask. */
  async open() {
    await this.session.share("").catch(() => null); // until a request was sent, nobody knows the role
    const { text } = this.words;
    if (this.session.isAdmin) return this.#buying(({ choosePack }) => choosePack(this));
    askAnAdmin(this, { title: text("ask.buy"), what: text("ask.buy_what"), request: text("ask.buy_request") });
  }

  /**
   * A purchase whose Checkout is open elsewhere, or that the browser has come back from: until its credits are there.
   *
   * @param {string} id
   */
  follow(id) {
    return this.#buying(({ followPurchase }) => followPurchase(this, id));
  }

  /** @param {(buying: typeof import("./buying.js")) => void} use */
  async #buying(use) {
    this.#failed?.remove();
    try {
      use(await asked(import("./buying.js")));
    } catch (problem) {
      this.#failed = failure(this.words, this.words.text("top_up.undone"), { problem: /** @type {Thrown} */ (problem) });
      this.root.append(this.#failed);
    }
  }
}

customElements.define("buy-credits", BuyCredits);
