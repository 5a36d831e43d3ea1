// What the API answers and what it is asked with, from its OpenAPI document: `make docs` writes this file.
// A path is as a Session takes it: one of the team's own begins with a slash, and the empty one is the team itself.
// Only what members and admins may ask for is here.

declare namespace Api {
  /** A page of the credit activity, newest position first. */
  interface Activity {
    items: ActivityItem[];
    next_cursor: string | null;
  }

  /** One entry of the credit activity. */
  interface ActivityItem {
    at: string;
    recorded_at: string;
    type: Kind;
    description: string;
    detail: string | null;
    member_id: string | null;
    feature: string | null;
    credits: string;
    included: string;
    additional: string;
    balance_after: string;
    late: boolean;
    id: string;
  }

  /** Whom to ask. */
  interface Admin {
    id: string;
    name: string;
  }

  /** What a team has: total = included + additional, available = total - held. `low`: fewer are available than `low_below`, the threshold of top-ups or, where they are off, the plan's. `allowance`: the included credits that the open cycle was given, by its refill, an upgrade, or what came back of a cycle that is over: at least what is `included`. `next_allowance`: those that the next refill brings. */
  interface Balance {
    total: string;
    included: string;
    additional: string;
    held: string;
    available: string;
    low: boolean;
    low_below: string;
    allowance: string;
    next_refill_at: string | null;
    next_allowance: string;
    plan: string;
    top_up_enabled: boolean;
    position: string;
    as_of: string;
  }

  /** A card, as its owner recognises it. */
  interface Card {
    brand: string | null;
    last4: string | null;
  }

  /** A page on which an admin saves a card, and what came of it. */
  interface CardPage {
    id: string;
    state: "open" | "saved" | "superseded" | "expired" | "failed";
    detail: string | null;
    checkout_url: string | null;
    expires_at: string | null;
    card: Card | null;
    position: string;
  }

  /** Where to go when the card is saved. */
  interface CardPageBody {
    return_url?: string | null;
  }

  /** A heading of the rate card. */
  interface Category {
    id: string;
    name: string;
    features: Feature[];
  }

  /** The money behind an entry. What names it at Stripe is for admins and finance alone. */
  interface Charge {
    amount: number;
    currency: string;
    payment_intent_id?: string | null;
    charge_id?: string | null;
    receipt_url?: string | null;
  }

  /** What the next top-up adds and charges. `now` if the balance is low already: at once, unless `not_now` says what is in the way. A cap that is too small for the next one, or a plan without top-ups, is said before the balance is low. */
  interface ChargePreview {
    credits: string;
    amount: number;
    currency: string;
    now: boolean;
    not_now: string | null;
  }

  /** What counts towards this month's caps: top-ups that were made, and one that is under way. */
  interface ChargedThisMonth {
    amount: number;
    currency: string;
    count: number;
    month: string;
  }

  /** An entry with everything that it follows from. */
  interface Entry {
    at: string;
    recorded_at: string;
    type: Kind;
    description: string;
    detail: string | null;
    member_id: string | null;
    feature: string | null;
    credits: string;
    included: string;
    additional: string;
    balance_after: string;
    late: boolean;
    id: string;
    position: string;
    price: Price | null;
    paid_by: PaidBy[];
    charge: Charge | null;
    reason: string | null;
    corrects: string | null;
    taken_back_by: string | null;
  }

  /** A feature with its unit and its rates. `unit` is what people call one use of it, say `image`. `for_units` says for how many units the credits of its rates are: a price for a million tokens is written as such. */
  interface Feature {
    feature: string;
    name: string;
    per: "use" | "second" | "character" | "token" | "gb_day";
    unit?: string | null;
    for_units?: 1 | 1000 | 1000000;
    requires?: Requires;
    rates: Rate[];
  }

  /** A hold. `credits` are what is set aside, or what was when it ended. */
  interface Hold {
    position: string;
    id: string;
    credits: string;
    state: HoldState;
    expires_at: string;
    member_id: string | null;
  }

  /** What became of a hold. All but `open` are final. */
  type HoldState = "open" | "settled" | "released" | "expired";

  /** Work that is about to be done, or was done: `quantity`, or `quantities` where its rate prices several. */
  interface Item {
    feature: string;
    quantity?: string | number | null;
    attributes?: Record<string, string>;
    member_id?: string | null;
    quantities?: Record<string, string | number> | null;
  }

  /** The type of an activity row, as the customer reads it. */
  type Kind = "usage" | "usage_voided" | "purchase" | "top_up" | "refill" | "grant" | "adjustment" | "expiry" | "refund" | "dispute" | "top_up_failed" | "top_up_skipped";

  /** What a member may use per day and per month of the team's zone. null is no limit, "0" is nothing. A hard limit refuses quotes and holds, a soft one only marks them; usage that is reported is never refused. */
  interface LimitBody {
    daily?: string | null;
    monthly?: string | null;
    hard?: boolean;
  }

  /** Where a lot comes from; all but `included` are additional to the customer. */
  type LotKind = "included" | "purchased" | "topped_up" | "promotional" | "adjusted" | "reinstated";

  /** A person in a team. */
  interface Member {
    id: string;
    name: string;
    role: "member" | "admin";
  }

  /** A member's limit. */
  interface MemberLimit {
    position: string;
    member_id: string;
    daily: string | null;
    monthly: string | null;
    hard: boolean;
  }

  /** Minor units with their currency. */
  interface Money {
    amount: number;
    currency: string;
  }

  /** Credits that can be bought once; `prices` has the price in each currency. */
  interface Pack {
    pack: string;
    name: string;
    credits: string;
    amount: number;
    currency: string;
    prices: Record<string, number>;
  }

  /** A lot that paid, and how much of it. Without a lot, it is how far the balance went below zero. Of credits that came, it is the part that paid off the negative balance. Of credits that were given back, it is to whom they went. */
  interface PaidBy {
    lot: string | null;
    kind: LotKind | "overdraft";
    name: string;
    gained_at: string | null;
    ends_at: string | null;
    credits: string;
  }

  /** The card that top-ups are charged to, if there is one. */
  interface PaymentMethod {
    card: Card | null;
    changed_at: string | null;
    changed_by: string | null;
    position: string;
  }

  /** How a price came about. A use of several quantities has no `quantity` and no `rate`, but `components`. `for_units` says for how many units each rate is. */
  interface Price {
    rate_card: number;
    in_force_since: string;
    feature: string;
    name: string;
    per: "use" | "second" | "character" | "token" | "gb_day";
    unit: string | null;
    quantity: string | null;
    attributes: Record<string, string>;
    rate_attributes: Record<string, string>;
    rate: string | null;
    for_units: number;
    formula: string;
    components: PriceComponent[];
  }

  /** One of several quantities of a use, with its part of the price: exact, and so with any number of places. The sum of these parts is rounded once, to the credits of the entry. */
  interface PriceComponent {
    quantity: string;
    used: string;
    rate: string;
    credits: string;
    formula: string;
  }

  /** What went wrong (RFC 9457). `code` is stable; `detail` says what to do. */
  interface Problem {
    type: string;
    title: string;
    status: number;
    code: string;
    detail?: string | null;
    errors?: Wrong[] | null;
    problems?: string[] | null;
    admins?: Admin[] | null;
    items?: QuoteItem[] | null;
  }

  /** A pack that somebody is buying or has bought. `position` is that of the credits once they are there. */
  interface Purchase {
    id: string;
    state: "open" | "processing" | "credited" | "expired" | "failed" | "differs";
    detail: string | null;
    checkout_url: string | null;
    expires_at: string | null;
    pack: string;
    credits: string;
    amount: number;
    currency: string;
    save_card: boolean;
    receipt_url: string | null;
    position: string;
  }

  /** What an admin wants to buy; `save_card`: top-ups may use the card as well. */
  interface PurchaseBody {
    pack: string;
    currency?: string | null;
    save_card?: boolean;
    return_url?: string | null;
  }

  /** Price and permission. `affordable` is about the balance alone, `allowed` about everything. `warning` says that a member's soft limit is reached, which forbids nothing. */
  interface Quote {
    credits: string;
    affordable: boolean;
    allowed: boolean;
    reason: "unknown_feature" | "plan_required" | "top_ups_required" | "member_limit" | "exhausted" | null;
    warning: "member_limit" | null;
    items: QuoteItem[];
    position: string;
  }

  /** What would it cost, and may we? */
  interface QuoteBody {
    items: Item[];
  }

  /** The answer for one item; `credits` is null where there is no price. */
  interface QuoteItem {
    credits: string | null;
    allowed: boolean;
    reason: "unknown_feature" | "plan_required" | "top_ups_required" | "member_limit" | "exhausted" | null;
    detail: string | null;
    warning: "member_limit" | null;
  }

  /** The credits of one unit, for usages with these attributes; what it requires comes on top of the feature's own. A rate has `credits`, or `credits_by_quantity` for usage that reports several quantities; the other is absent. */
  interface Rate {
    attributes?: Record<string, string>;
    credits?: string | null;
    credits_by_quantity?: Record<string, string> | null;
    requires?: Requires | null;
  }

  /** What every feature costs from an instant on. Publishing a new version is the only way to change a price. */
  interface RateCard {
    version: number;
    effective_from: string;
    categories: Category[];
  }

  /** A rate card, and since when or from when it is in force. */
  interface RateCardDate {
    version: number;
    effective_from: string;
  }

  /** What a team needs before it may use a feature: top-ups, a plan, both or nothing. */
  interface Requires {
    top_ups?: boolean;
    plan?: string | null;
  }

  /** Where the cycle was sealed, and the first signed checkpoint that covers it, with the SHA-256 of its text. */
  interface SealAnswer {
    position: string;
    recorded_at: string;
    checkpoint: number;
    sha256: string;
  }

  /** A top-up that would have been made. */
  interface SimulatedCharge {
    credits: string;
    amount: number;
    currency: string;
    at: string;
  }

  /** What settings would have charged in the last days; `each` is one top-up as a rule, the preview the next one. */
  interface Simulation {
    days: number;
    charges: SimulatedCharge[] | null;
    total: Money | null;
    each: TopUpCost | null;
    next_charge_preview: ChargePreview | null;
  }

  /** A statement. opening + refilled + bought + topped_up + granted + given_back + adjusted + taken_back - used - expired - refunded - disputed = closing, and the next one's opening is this closing. */
  interface StatementAnswer {
    format: "creditwell statement 1";
    log: string;
    team_id: string;
    plan: string;
    zone: string;
    cycle: number;
    starts_at: string;
    ends_at: string;
    sealed: SealAnswer;
    opening: StatementSum;
    refilled: StatementSum;
    bought: StatementSum;
    topped_up: StatementSum;
    granted: StatementSum;
    given_back: StatementSum;
    adjusted: StatementSum;
    taken_back: StatementSum;
    used: StatementSum;
    expired: StatementSum;
    refunded: StatementSum;
    disputed: StatementSum;
    closing: StatementSum;
    by_feature: StatementFeature[];
    by_member: StatementMember[];
    payments: StatementPayment[];
    late: StatementLate[];
    corrections: StatementCorrection[];
    left: Record<string, string>;
    rate_cards: number[];
  }

  /** What was counted of a feature. */
  interface StatementComponent {
    name: string;
    unit: string;
    quantity: string;
    uses: number;
    credits: string;
  }

  /** A correction by a person; who and why stand at its entry. */
  interface StatementCorrection {
    position: string;
    at: string;
    credits: string;
    refers_to: string | null;
  }

  /** Work of one feature; null is work that named none. */
  interface StatementFeature {
    feature: string | null;
    name: string;
    components: StatementComponent[];
    taken_back: string;
    quantities?: Record<string, string> | null;
  }

  /** A cycle that has a statement. */
  interface StatementHead {
    cycle: number;
    starts_at: string;
    ends_at: string;
    position: string;
    sealed_at: string;
    checkpoint: number;
  }

  /** What belongs to an earlier cycle, came after its seal and counts here. */
  interface StatementLate {
    cycle: number;
    entries: number;
    credits: string;
  }

  /** The cycles that have a statement, newest first. */
  interface StatementList {
    items: StatementHead[];
  }

  /** Work of one member; null is nobody. */
  interface StatementMember {
    member_id: string | null;
    uses: number;
    used: string;
    taken_back: string;
  }

  /** A payment of the cycle, or an older one of which money moved in it; `refunded` and so on are of this cycle. */
  interface StatementPayment {
    payment: string;
    position: string;
    at: string;
    paid_in_this_cycle: boolean;
    credits: string;
    currency: string;
    gross: string;
    tax: string;
    refunded: string;
    disputed: string;
    won_back: string;
  }

  /** Credits of one line. */
  interface StatementSum {
    total: string;
    included: string;
    additional: string;
  }

  /** A team as people know it. */
  interface Team {
    id: string;
    name: string;
    zone: string;
    plan: string;
    plan_name: string;
    members: Member[];
    admins: Admin[];
    erased: string[];
  }

  /** How top-ups work, and where they stand. The card is shown to admins and finance. */
  interface TopUp {
    enabled: boolean;
    threshold: string | null;
    credits: string | null;
    restore_to: string | null;
    monthly_cap: Money | null;
    max_per_month: number | null;
    cool_down_seconds: number | null;
    state: "off" | "on" | "charging" | "action_required" | "suspended";
    reason: string | null;
    next_charge_preview: ChargePreview | null;
    price: TopUpPrice;
    charged_this_month: ChargedThisMonth;
    card: Card | null;
    cool_until: string | null;
    position: string | null;
  }

  /** How top-ups shall work: `credits` adds a fixed amount, `restore_to` fills up. */
  interface TopUpBody {
    enabled: boolean;
    threshold?: string | null;
    credits?: string | null;
    restore_to?: string | null;
    monthly_cap?: Money | null;
    max_per_month?: number | null;
    cool_down_seconds?: number | null;
  }

  /** Where to go when the payment is confirmed. */
  interface TopUpConfirmBody {
    return_url?: string | null;
  }

  /** `url` is the bank's page, while the payment still has to be confirmed there. `state` is how far the payment is. */
  interface TopUpConfirmation {
    url: string | null;
    state: "confirm" | "processing" | "paid" | "declined" | "cancelled";
    position: string;
  }

  /** Credits, and the money for them. */
  interface TopUpCost {
    credits: string;
    amount: number;
    currency: string;
  }

  /** What credits of a top-up cost, in minor units and decimals of them; an amount is a multiple of `step`. `max_charge`: no top-up charges more at once. `monthly_cap`: what a month may charge where the team's settings do not say. */
  interface TopUpPrice {
    unit_price: string;
    currency: string;
    max_charge: number;
    monthly_cap: number;
    min_credits: string;
    step: string;
  }

  /** What was used, added up. `attributes` are those that may be asked for: the catalog's `count_by`. */
  interface Usage {
    by: "feature" | "member" | "day" | "attribute";
    attribute: string | null;
    attributes: string[];
    days: number;
    since: string;
    items: UsedOfFeature[] | UsedByMember[] | UsedOnDay[] | UsedOfValue[];
    position: string;
  }

  /** What a member used; null is nobody. */
  interface UsedByMember {
    credits: string;
    uses: number;
    features: Record<string, string>;
    members: Record<string, string>;
    values: Record<string, string>;
    member_id: string | null;
  }

  /** What was used of a feature. */
  interface UsedOfFeature {
    credits: string;
    uses: number;
    features: Record<string, string>;
    members: Record<string, string>;
    values: Record<string, string>;
    feature: string;
    name: string;
  }

  /** What was used with a value of the attribute; null is usage that does not name it. */
  interface UsedOfValue {
    credits: string;
    uses: number;
    features: Record<string, string>;
    members: Record<string, string>;
    values: Record<string, string>;
    value: string | null;
  }

  /** What was used on a day of the team's own. */
  interface UsedOnDay {
    credits: string;
    uses: number;
    features: Record<string, string>;
    members: Record<string, string>;
    values: Record<string, string>;
    day: string;
  }

  /** One thing that is wrong with a request. */
  interface Wrong {
    where: string;
    problem: string;
  }

  /** What a GET answers. */
  interface Got {
    "": Team;
    "/balance": Balance;
    [path: `/balance?${string}`]: Balance;
    "/activity": Activity;
    [path: `/activity?${string}`]: Activity;
    [path: `/entries/${string}`]: Entry;
    "/usage": Usage;
    [path: `/usage?${string}`]: Usage;
    "/statements": StatementList;
    [path: `/statements/${string}`]: StatementAnswer;
    "v1/rate-card": RateCard;
    [path: `v1/rate-card?${string}`]: RateCard;
    "v1/rate-cards": RateCardDate[];
    "v1/packs": Pack[];
    [path: `/holds/${string}`]: Hold;
    "/top-up": TopUp;
    [path: `/purchases/${string}`]: Purchase;
    "/payment-method": PaymentMethod;
    [path: `/payment-method/${string}`]: CardPage;
  }

  /** What a command is sent with, and what it answers. */
  interface Commands {
    "POST /quotes": { body: QuoteBody; answer: Quote };
    [path: `PUT /members/${string}/limit`]: { body: LimitBody; answer: MemberLimit };
    "PUT /top-up": { body: TopUpBody; answer: TopUp };
    "POST /top-up/confirm": { body: TopUpConfirmBody; answer: TopUpConfirmation };
    "POST /top-up/simulate": { body: TopUpBody; answer: Simulation };
    "POST /purchases": { body: PurchaseBody; answer: Purchase };
    "POST /payment-method": { body: CardPageBody; answer: CardPage };
  }
}
