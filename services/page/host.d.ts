// Types for a host product that embeds the elements. It takes this file, api.d.ts and texts.d.ts from /usage/ into its project.

/** What an element tells, as an event on the element itself: it does not bubble. */
interface CreditwellEvents {
  /** The balance, whenever it is another; the first comes when the element begins to listen. */
  "creditwell-balance": CustomEvent<Api.Balance>;
  /** New entries of the activity; `more` where there are some that are not told. */
  "creditwell-activity": CustomEvent<{ items: Api.ActivityItem[]; more: boolean }>;
  /** A purchase that has come to its end: `state` is "credited", "failed" or "expired". */
  "creditwell-purchase": CustomEvent<Api.Purchase>;
  /** The settings of automatic top-ups, saved a moment ago. */
  "creditwell-top-up": CustomEvent<Api.TopUp>;
  /** A request that failed: `code` is the API's. Where it can, the element tries again by itself; `status` is 0 where nobody answered. */
  "creditwell-error": CustomEvent<{ code: string; status: number; message: string }>;
  /** How the line to the server is. */
  "creditwell-link": CustomEvent<"live" | "connecting" | "offline" | "ended">;
  /** The sign-in has ended, or was refused: `code` is the API's. Nothing is asked for any more until there is a new session. */
  "creditwell-ended": CustomEvent<{ code: string; status: number; message: string }>;
}

type CreditwellGetText = <Key extends keyof CreditwellTexts>(
  key: Key,
  params: { readonly [Name in keyof CreditwellTexts[Key]]: string },
) => string | undefined;

/** What all elements have in common. */
interface CreditwellElement extends HTMLElement {
  /** A token, or a promise of one; called whenever one is needed. Elements with the same function and team share one stream. */
  set getToken(getToken: () => string | Promise<string>);
  /**
   * Texts of the host's own: asked for each text by its name, with what is filled in as it would be shown. What it gives may name that
   * in {braces}, too; undefined leaves ours. The names and parameters are those of `CreditwellTexts`, in texts.d.ts.
   */
  set getText(getText: CreditwellGetText | null);
  /** A session to share by hand; null where nobody is signed in. */
  set session(session: CreditwellSession | null);
  addEventListener<Name extends keyof CreditwellEvents>(
    name: Name,
    listener: (event: CreditwellEvents[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener<Name extends keyof HTMLElementEventMap>(
    name: Name,
    listener: (event: HTMLElementEventMap[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

interface CreditwellSession extends EventTarget {
  readonly team: string;
  readonly role: string;
  readonly isAdmin: boolean;
  readonly balance: Api.Balance | null;
  get<Path extends keyof Api.Got>(path: Path): Promise<Api.Got[Path]>;
  close(): void;
}

interface BuyCreditsElement extends CreditwellElement {
  /** The packs, or for members whom to ask. */
  open(): Promise<void>;
}

interface TopUpSettingsElement extends CreditwellElement {
  /** The settings, or for members whom to ask. */
  open(): Promise<void>;
}

interface HTMLElementTagNameMap {
  "credits-usage": CreditwellElement;
  "credit-balance": CreditwellElement;
  "credit-activity": CreditwellElement;
  "usage-chart": CreditwellElement;
  "rate-card": CreditwellElement;
  "buy-credits": BuyCreditsElement;
  "top-up-settings": TopUpSettingsElement;
}

declare module "*/usage/creditwell.js" {
  export const Session: new (options: {
    getToken: () => string | Promise<string>;
    team?: string | null;
    /** Where Stripe sends people back to: this address unless told, of an origin in CREDITWELL_CORS_ORIGINS. */
    returnUrl?: string | null;
  }) => CreditwellSession;
}
