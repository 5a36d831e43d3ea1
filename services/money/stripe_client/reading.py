"""From Stripe's JSON to our values."""

from datetime import UTC, datetime
from typing import Any

from services.money.stripe_client.answers import BalanceMove, Checkout, Decline, Dispute, Intent, StripeCard

Json = dict[str, Any]


def intent_of(body: Json) -> Intent:
    """An intent, with the card and the charge where Stripe was asked to expand them."""
    charge = body.get("latest_charge")
    charge = charge if isinstance(charge, dict) else {}
    fault = body.get("last_payment_error")
    action = (body.get("next_action") or {}).get("redirect_to_url") or {}
    tax = (body.get("amount_details") or {}).get("tax") or {}
    status = body["status"]
    return Intent(
        id=body["id"],
        state="cancelled" if status == "canceled" else status,
        amount_cents=body["amount"],
        currency=body["currency"],
        customer_id=id_of(body.get("customer")),
        payment_method_id=id_of(body.get("payment_method")),
        card=card_of(body.get("payment_method")) or card_of((fault or {}).get("payment_method")),
        decline=None if fault is None else decline_of(fault),
        charge_id=id_of(body.get("latest_charge")),
        receipt_url=charge.get("receipt_url"),
        refunded_cents=charge.get("amount_refunded", 0),
        disputed=charge.get("disputed", False),
        action_url=action.get("url"),
        metadata=body.get("metadata") or {},
        created_at=moment_of(body["created"]),
        paid_at=moment_of(charge["created"]) if charge.get("paid") else None,
        tax_cents=tax.get("total_tax_amount"),
    )


def checkout_of(body: Json) -> Checkout:
    """A Checkout, with the intent that it made and the card that was used or saved."""
    intent, setup = body.get("payment_intent"), body.get("setup_intent")
    paid_with = intent if isinstance(intent, dict) else setup if isinstance(setup, dict) else {}
    return Checkout(
        id=body["id"],
        mode=body["mode"],
        state=body["status"],
        paid=body["payment_status"] == "paid",
        url=body.get("url"),
        amount_cents=body.get("amount_total"),
        subtotal_cents=body.get("amount_subtotal"),
        tax_cents=(body.get("total_details") or {}).get("amount_tax") or 0,
        currency=body.get("currency"),
        customer_id=id_of(body.get("customer")),
        intent=intent_of(intent) if isinstance(intent, dict) else None,
        card=card_of(paid_with.get("payment_method")),
        metadata=body.get("metadata") or {},
        created_at=moment_of(body["created"]),
        expires_at=moment_of(body["expires_at"]),
    )


def dispute_of(body: Json) -> Dispute:
    """A dispute."""
    return Dispute(
        id=body["id"],
        charge_id=id_of(body["charge"]) or "",
        amount_cents=body["amount"],
        currency=body["currency"],
        status=body["status"],
        reason=body["reason"],
        created_at=moment_of(body["created"]),
    )


def move_of(body: Json, source: str | Json | None) -> BalanceMove:
    """A balance transaction, with the charge, refund or dispute that it is about, where Stripe was asked to expand it.

    Where the account settles in another currency than was paid, the gross in that of the payment is the source's.
    """
    about: Json = source if isinstance(source, dict) else {}
    gross, currency = body["amount"], body["currency"]
    paid_currency = str(about.get("currency") or currency)
    paid_cents = gross if paid_currency == currency else about["amount"] * (-1 if gross < 0 else 1)
    return BalanceMove(
        id=body["id"],
        category=body["reporting_category"],
        created_at=moment_of(body["created"]),
        currency=currency,
        gross_cents=gross,
        fee_cents=body["fee"],
        net_cents=body["net"],
        source_id=id_of(source),
        payment_intent_id=id_of(about.get("payment_intent")),
        paid_currency=paid_currency,
        paid_cents=paid_cents,
        is_itemised=about.get("reconciliation_status") == "completed",
    )


def card_of(method: str | Json | None) -> StripeCard | None:
    """None when there is none, when it was not expanded, and when it is no card."""
    if not isinstance(method, dict) or method.get("card") is None:
        return None
    card = method["card"]
    saved_at = moment_of(method["created"])
    return StripeCard(method["id"], card["brand"], card["last4"], card.get("fingerprint") or "", saved_at)


def decline_of(body: Json) -> Decline:
    """Why the bank said no."""
    return Decline(
        code=body.get("code") or "card_declined",
        decline_code=body.get("decline_code"),
        message=body.get("message") or "",
        advice_code=body.get("advice_code"),
    )


def id_of(part: str | Json | None) -> str | None:
    """Stripe gives the id, or the whole object where it was asked to expand it."""
    return part["id"] if isinstance(part, dict) else part


def moment_of(seconds: int) -> datetime:
    """An instant, from Stripe's seconds."""
    return datetime.fromtimestamp(seconds, UTC)
