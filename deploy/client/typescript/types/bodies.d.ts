// What the API answers, from its OpenAPI document: `make docs` writes this file anew.

/** A page of the credit activity, newest position first. */
export interface Activity {
  items: ActivityItem[];
  next_cursor: string | null;
}

/** One entry of the credit activity. */
export interface ActivityItem {
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

/** What a team has: total = included + additional, available = total - held. `low`: fewer are available than `low_below`, the threshold of top-ups or, where they are off, the plan's. `allowance`: the included credits that the open cycle was given, by its refill, an upgrade, or what came back of a cycle that is over: at least what is `included`. `next_allowance`: those that the next refill brings. */
export interface Balance {
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

/** A hold after a capture; `captured` is what this one took. */
export interface Captured {
  position: string;
  id: string;
  credits: string;
  state: HoldState;
  expires_at: string;
  member_id: string | null;
  captured: string;
}

/** A card, as its owner recognises it. */
export interface Card {
  brand: string | null;
  last4: string | null;
}

/** The money behind an entry. What names it at Stripe is for admins and finance alone. */
export interface Charge {
  amount: number;
  currency: string;
  payment_intent_id?: string | null;
  charge_id?: string | null;
  receipt_url?: string | null;
}

/** What the next top-up adds and charges. `now` if the balance is low already: at once, unless `not_now` says what is in the way. A cap that is too small for the next one, or a plan without top-ups, is said before the balance is low. */
export interface ChargePreview {
  credits: string;
  amount: number;
  currency: string;
  now: boolean;
  not_now: string | null;
}

/** What counts towards this month's caps: top-ups that were made, and one that is under way. */
export interface ChargedThisMonth {
  amount: number;
  currency: string;
  count: number;
  month: string;
}

/** An entry with everything that it follows from. */
export interface Entry {
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

/** A hold. `credits` are what is set aside, or what was when it ended. */
export interface Hold {
  position: string;
  id: string;
  credits: string;
  state: HoldState;
  expires_at: string;
  member_id: string | null;
}

/** What became of a hold. All but `open` are final. */
export type HoldState = "open" | "settled" | "released" | "expired";

/** The type of an activity row, as the customer reads it. */
export type Kind = "usage" | "usage_voided" | "purchase" | "top_up" | "refill" | "grant" | "adjustment" | "expiry" | "refund" | "dispute" | "top_up_failed" | "top_up_skipped";

/** Where a lot comes from; all but `included` are additional to the customer. */
export type LotKind = "included" | "purchased" | "topped_up" | "promotional" | "adjusted" | "reinstated";

/** Minor units with their currency. */
export interface Money {
  amount: number;
  currency: string;
}

/** A lot that paid, and how much of it. Without a lot, it is how far the balance went below zero. Of credits that came, it is the part that paid off the negative balance. Of credits that were given back, it is to whom they went. */
export interface PaidBy {
  lot: string | null;
  kind: LotKind | "overdraft";
  name: string;
  gained_at: string | null;
  ends_at: string | null;
  credits: string;
}

/** A hold that was placed; `warning` says that a member's soft limit is reached. */
export interface Placed {
  position: string;
  id: string;
  credits: string;
  state: HoldState;
  expires_at: string;
  member_id: string | null;
  warning: "member_limit" | null;
}

/** How a price came about. A use of several quantities has no `quantity` and no `rate`, but `components`. `for_units` says for how many units each rate is. */
export interface Price {
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
export interface PriceComponent {
  quantity: string;
  used: string;
  rate: string;
  credits: string;
  formula: string;
}

/** Price and permission. `affordable` is about the balance alone, `allowed` about everything. `warning` says that a member's soft limit is reached, which forbids nothing. */
export interface Quote {
  credits: string;
  affordable: boolean;
  allowed: boolean;
  reason: "unknown_feature" | "plan_required" | "top_ups_required" | "member_limit" | "exhausted" | null;
  warning: "member_limit" | null;
  items: QuoteItem[];
  position: string;
}

/** The answer for one item; `credits` is null where there is no price. */
export interface QuoteItem {
  credits: string | null;
  allowed: boolean;
  reason: "unknown_feature" | "plan_required" | "top_ups_required" | "member_limit" | "exhausted" | null;
  detail: string | null;
  warning: "member_limit" | null;
}

/** What became of a usage. */
export interface Receipt {
  status: Status;
  position: string | null;
  recorded_at: string | null;
  credits: string | null;
  reason: string | null;
  detail: string | null;
  duplicates: number;
  conflicts: number;
  corrects: string | null;
}

/** What became of a usage; `late`: it counts in the open cycle because its own was sealed. */
export type Status = "pending" | "applied" | "late" | "refused";

/** How top-ups work, and where they stand. The card is shown to admins and finance. */
export interface TopUp {
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

/** What credits of a top-up cost, in minor units and decimals of them; an amount is a multiple of `step`. `max_charge`: no top-up charges more at once. `monthly_cap`: what a month may charge where the team's settings do not say. */
export interface TopUpPrice {
  unit_price: string;
  currency: string;
  max_charge: number;
  monthly_cap: number;
  min_credits: string;
  step: string;
}

/** What was used, added up. `attributes` are those that may be asked for: the catalog's `count_by`. */
export interface Usage {
  by: "feature" | "member" | "day" | "attribute";
  attribute: string | null;
  attributes: string[];
  days: number;
  since: string;
  items: UsedOfFeature[] | UsedByMember[] | UsedOnDay[] | UsedOfValue[];
  position: string;
}

/** What a member used; null is nobody. */
export interface UsedByMember {
  credits: string;
  uses: number;
  features: Record<string, string>;
  members: Record<string, string>;
  values: Record<string, string>;
  member_id: string | null;
}

/** What was used of a feature. */
export interface UsedOfFeature {
  credits: string;
  uses: number;
  features: Record<string, string>;
  members: Record<string, string>;
  values: Record<string, string>;
  feature: string;
  name: string;
}

/** What was used with a value of the attribute; null is usage that does not name it. */
export interface UsedOfValue {
  credits: string;
  uses: number;
  features: Record<string, string>;
  members: Record<string, string>;
  values: Record<string, string>;
  value: string | null;
}

/** What was used on a day of the team's own. */
export interface UsedOnDay {
  credits: string;
  uses: number;
  features: Record<string, string>;
  members: Record<string, string>;
  values: Record<string, string>;
  day: string;
}
