// What the page's own pieces hand to one another, for `make check` and for editors. What the API sends is in api.d.ts.

/** What an element is filled with; what is missing or false is left out. */
type Content = Node | string | false | null | undefined;

/** A catalog of texts: those that count have a form for one and one for all other amounts. */
type Texts = { readonly [Key in keyof CreditwellTexts]: "count" extends keyof CreditwellTexts[Key] ? { one: string; other: string } : string };

/** What may stand in a text: `count` is an amount, everything else is shown as it is. */
type Filled = Content | Content[] | number;

/** Makes something of a text, by its name and what is filled in. */
type Say<Made> = <Key extends keyof CreditwellTexts>(
  key: Key,
  ...filling: keyof CreditwellTexts[Key] extends never ? [] : [{ [Name in keyof CreditwellTexts[Key]]: Filled }]
) => Made;

/** Texts in which nothing is filled in. */
type PlainKey = { [Key in keyof CreditwellTexts]: keyof CreditwellTexts[Key] extends never ? Key : never }[keyof CreditwellTexts];

type GetText = (key: string, params: Record<string, string>) => string | null | undefined;

/** Attributes, and listeners under names that begin with `on`. */
type Properties = Record<string, unknown>;

/** Words to show where something went wrong. */
interface Said {
  message: string;
  code?: string;
  status?: number;
}

/** Where loading stands. What failed and is tried again says so by `again`. */
type Loading<T> = { phase: "loading" } | { phase: "ready"; value: T } | Failed;

interface Failed {
  phase?: "error" | "refused";
  problem: Said;
  seconds?: number;
  again?: () => void;
  tell?: () => void;
}

/** What the stream tells, by the name of the event, and what else a session says. */
interface News {
  balance: Api.Balance;
  activity: Came;
  purchase: Api.Purchase;
  "top-up": Api.TopUp;
  link: Link;
  error: Problem;
  ended: Problem;
  changed: string;
  change: null;
}

/** New entries; `more` where there are some that are not told. */
interface Came {
  items: Api.ActivityItem[];
  more: boolean;
}

type Action = import("./banner.js").Action;
type BuyCredits = import("./elements/buy-credits.js").BuyCredits;
type CreditsElement = import("./element.js").CreditsElement;
type Known = import("./stacks.js").Known;
type Link = import("./session.js").Link;
type Problem = import("./session.js").Problem;
type Row = import("./stacks.js").Row;
type Series = import("./stacks.js").Series;
type Session = import("./session.js").Session;
type Stacks = import("./stacks.js").Stacks;
type Words = import("./words.js").Words;
type TopUpSettings = import("./elements/top-up-settings.js").TopUpSettings;

interface HTMLElementTagNameMap {
  "buy-credits": BuyCredits;
  "credit-activity": import("./elements/credit-activity.js").CreditActivity;
  "credit-balance": import("./elements/credit-balance.js").CreditBalance;
  "credits-usage": import("./elements/credits-usage.js").CreditsUsage;
  "rate-card": import("./elements/rate-card.js").RateCard;
  "top-up-settings": TopUpSettings;
  "usage-chart": import("./elements/usage-chart.js").UsageChart;
}

/** What a request can throw: a Problem mostly, which says more than other errors do. */
type Thrown = Error & Partial<Problem>;
