"""Every code that a failure may carry, by its status, and what it means: a route names those that it can fail with.

The OpenAPI document is written from this, and a code that a route does not name is one that it must not answer.
"""

from collections.abc import Mapping

MEANINGS: Mapping[int, Mapping[str, str]] = {
    400: {
        "bad_request": "the URL contains a NUL character",
        "idempotency_key_required": "the header Idempotency-Key is missing: any text that names this attempt",
        "signature_missing": "the header Stripe-Signature has no time and signature",
        "signature_wrong": "the signature fits none of the secrets in CREDITWELL_STRIPE_WEBHOOK_SECRET",
        "too_old": "it was signed too long ago",
        "from_the_future": "it was signed later than now",
        "unreadable": "it is signed, but it is not a Stripe event",
        "thin_event": "a Stripe event in the thin form; `detail` says which destination to set up instead",
        "wrong_mode": "a test event for a live key, or the other way round",
    },
    401: {"unauthenticated": "send the header Authorization: Bearer <token>, with a valid token"},
    402: {"exhausted": "the team can't afford it"},
    403: {
        "forbidden": "this needs a token of another role",
        "every_team_required": 'this affects every team: it needs a token with team `"*"`',
        "ask_your_admin": "only the team's admins may do this; `admins` lists them",
        "team_not_allowed": "the token may not report for that team",
        "source_not_allowed": "the token may not report as that source",
        "plan_required": "the feature needs a larger plan",
        "top_ups_required": "the feature needs automatic top-ups",
        "member_limit": "the member's limit is reached",
        "own_approval": "who asks for it can't decide it, whichever token they use",
    },
    404: {
        "not_found": "there is nothing at this address",
        "unknown_team": "there is no such team that this token may see, or it has no plan yet",
        "unknown_member": "the directory does not know the member",
        "unknown_entry": "the team has no such entry",
        "unknown_cycle": "the team did not exist in that cycle",
        "unknown_hold": "the team has no such hold",
        "unknown_request": "the team has no such request",
        "unknown_purchase": "the team has no such purchase",
        "unknown_payment_method": "there was no such page to save a card on",
        "no_balance_then": "the team had no plan at that instant, as far as was known",
        "before_first_rate_card": "no rate card was in force at that instant",
    },
    405: {"method_not_allowed": "this URL does not support the method; the header Allow names those that it supports"},
    408: {"too_slow": "the body did not come in time"},
    409: {
        "already_done": "a command with this Idempotency-Key was carried out; read what it did",
        "anchor_fixed": "anchor and zone stay as the first plan had them",
        "rate_card_version": "this is not the next version",
        "too_many_holds": "the team has too many open holds; settle or release some first",
        "not_signed_yet": "no signed checkpoint covers the entry yet; ask again in a minute",
        "not_sealed_yet": "the cycle is not sealed, or no signed checkpoint covers its seal yet; `detail` says when to ask again",
        "hold_settled": "the hold is settled already",
        "hold_released": "the hold is released already",
        "hold_expired": "the hold has expired",
        "request_approved": "the request was approved already",
        "request_rejected": "the request was rejected already",
        "request_expired": "the request has waited for 14 days; ask again",
        "already_taken_back": "the usage was taken back already; correct what replaced it, if anything",
        "nothing_to_confirm": "no payment waits to be confirmed",
    },
    412: {"changed_meanwhile": "somebody else changed the settings; look at them and save again"},
    413: {"too_large": "the body is too large"},
    415: {"unsupported_media_type": "send one of the media types that are listed"},
    422: {
        "invalid_request": "the request is not of the documented shape; `errors`, where they are given, say where",
        "idempotency_key_reused": "this Idempotency-Key came with another body before; use a new one",
        "invalid_team": "no team can have this id",
        "invalid_anchor": "the anchor is too far in the past or in the future",
        "invalid_credits": "so many credits can't be given, taken or set aside",
        "invalid_expiry": "the credits would have expired already",
        "plain_credits": "plain credits were captured, which have no quantity: void them",
        "several_members": "one hold is for one member",
        "invalid_limit": "the limit is too low or too high",
        "invalid_ttl": "a hold lasts at most 24 hours",
        "unknown_checkpoint": "the log has no such signed checkpoint that covers the entry",
        "not_counted": "usage is not counted by this attribute; `attributes` of any answer lists those that it is counted by",
        "invalid_cursor": "the cursor is not a `next_cursor` of this API",
        "invalid_return_url": "the address is not of an origin in CREDITWELL_CORS_ORIGINS",
        "invalid_rate_card": "`problems` has a sentence for each thing to change",
        "invalid_top_up": "`problems` has a sentence for each thing to change",
        "in_the_future": "the instant has not come yet",
        "wrong_position": "the position is not of this team's shard",
        "too_soon": "a rate card must take effect at least 60 seconds from now",
        "too_large": "the value is larger than one entry or record can hold",
        "unknown_plan": "the plan is not sold",
        "unknown_zone": "there is no such time zone, or this build does not know that of the team",
        "unknown_pack": "the pack is not sold",
        "unknown_currency": "the pack has no price in this currency",
        "unknown_feature": "the rate card has no such feature",
        "unknown_rate": "the rate card has no rate for these attributes",
        "unknown_quantity": "the rate has no price for a quantity; `detail` names those that it prices",
    },
    429: {"too_many_requests": "too many requests, or too many open streams; the header Retry-After says when to try again"},
    500: {"internal": "our mistake; it has been logged"},
    503: {
        "unavailable": "the database does not answer; send the same request again in a moment",
        "store_unchecked": "the store has changed servers, and nobody has looked yet whether it is the newest; nothing was done",
        "busy": "too many requests are waiting for the same lock; send it again in a moment",
        "no_keys": "the keys that verify tokens can't be fetched",
        "not_yet": "the position is not in the log yet",
        "catching_up": "the projection is too far behind for an exact answer; send the same request again later",
        "no_rate_card": "no rate card is published yet",
        "kafka_away": "Kafka does not answer; send the same request again in a moment",
        "stripe_away": "Stripe does not answer; send the same request again in a moment: nothing is charged twice",
        "no_stripe_key": "no Stripe key is set, so nothing can be bought",
        "no_webhook_secret": "no webhook secret is set, so webhooks can't be verified",
    },
}  # fmt: skip
STATUS = {code: status for status, codes in MEANINGS.items() for code in codes}
LONG_BODY = (413, "too_large")  # the one code of two statuses: STATUS has the other one, of what a body says

PRICED = ("before_first_rate_card", "no_rate_card")  # how every route that needs a price may fail
AT_STRIPE = ("no_stripe_key", "stripe_away")  # and every one that asks Stripe


def title_of(code: str) -> str:
    """`unknown_team` as a title: `Unknown team`."""
    return code.replace("_", " ").capitalize()


def type_of(code: str) -> str:
    """The URI that names the kind of problem."""
    return f"urn:creditwell:problem:{code}"
