"""One morning of one team, in the words of the API: the examples of the OpenAPI document, each thing told once.

Northlight Studio (`team_42`) has had 600 of its 3,000 included credits used, and tops up below 500.
"""

from typing import Any

AT = "2026-11-23T10:15:30.123456Z"
SOON = "2026-11-23T10:25:30.123456Z"
REFILL = "2026-12-01T09:00:00.000000Z"
POSITION = "40:20418"
HOLD_ID = "5e0c6b5e-2f0a-5a61-9d0a-0f6f3c0d9a11"
ATTEMPT_ID = "c9a4f0de-7b1d-5f5e-8a52-2f1f6f0f4b63"
PURCHASE_ID = "3f1f6a52-6c2e-5d0b-8a4e-0f6c2b9f7d10"
USAGE = {"source": "/features/video", "id": "0198c1f2-7a1c-7cc3-98c4-dc0c0c07398f"}
HOST = "https://app.example.com/billing"
CAP = {"amount": 10_000, "currency": "usd"}
NO_PAGE = {"detail": None, "expires_at": AT, "checkout_url": None}

Example = dict[str, Any]

IMAGES: Example = {"feature": "ai_image.generate", "quantity": "4", "attributes": {"tier": "high"}}
EVENT: Example = {
    "specversion": "1.0", "type": "usage.reported.v1", **USAGE, "subject": "team_42", "time": AT,
    "datacontenttype": "application/json", "data": {**IMAGES, "member_id": "mem_7"},
}  # fmt: skip
STRIPE_EVENT: Example = {
    "id": "evt_1", "type": "payment_intent.succeeded", "created": 1_795_428_930, "livemode": False,
    "data": {"object": {"object": "payment_intent", "id": "pi_1", "customer": "cus_1", "metadata": {}}},
}  # fmt: skip

ADMIN: Example = {"id": "mem_7", "name": "Ada Lindqvist"}
TEAM: Example = {
    "id": "team_42", "name": "Northlight Studio", "zone": "Europe/Berlin", "plan": "pro", "plan_name": "Pro",
    "members": [{**ADMIN, "role": "admin"}, {"id": "mem_8", "name": "Ben Okafor", "role": "member"}], "admins": [ADMIN],
    "erased": ["mem_3"],
}  # fmt: skip
LISTED_TEAM: Example = {name: TEAM[name] for name in ("id", "name", "plan", "zone")}
PLAN: Example = {"plan": "pro", "anchor": "2026-11-01T09:00:00.000000Z", "zone": "Europe/Berlin"}
BALANCE: Example = {
    "total": "4400", "included": "2400", "additional": "2000", "held": "60", "available": "4340", "low": False,
    "low_below": "2500", "allowance": "3000",
    "next_refill_at": REFILL, "next_allowance": "3000", "plan": "pro", "top_up_enabled": True, "position": POSITION, "as_of": AT,
}  # fmt: skip

ITEM: Example = {
    "at": AT, "recorded_at": "2026-11-23T10:15:30.187020Z", "type": "usage", "description": "AI image",
    "detail": "4 images × 15 = 60 credits · rate card 1", "member_id": "mem_7", "feature": "ai_image.generate", "credits": "-60",
    "included": "-60", "additional": "0", "balance_after": "4400", "late": False, "id": f"{POSITION}:0",
}  # fmt: skip
ENTRY: Example = {
    **ITEM, "position": POSITION,
    "price": {
        "rate_card": 1, "in_force_since": "2025-01-01T00:00:00.000000Z", "feature": "ai_image.generate", "name": "AI image",
        "per": "use", "unit": "image", "quantity": "4", "attributes": {"tier": "high"}, "rate_attributes": {"tier": "high"}, "rate": "15",
        "for_units": 1, "components": [],
        "formula": "4 images × 15 = 60 credits",
    },
    "paid_by": [{
        "lot": "40:20017", "kind": "included", "name": "Included credits", "gained_at": PLAN["anchor"], "ends_at": REFILL,
        "credits": "60",
    }],
    "charge": None, "reason": ITEM["detail"], "corrects": None, "taken_back_by": None,
}  # fmt: skip
PROOF: Example = {
    "format": "creditwell proof 1",
    "fact": {
        "shard": 31,
        "position": 10,
        "recorded_at": "2026-11-23T10:15:40.123456Z",
        "occurred_at": "2026-11-23T00:15:30.123456Z",
        "team_id": "team_42",
        "source": "/features/video",
        "id": "use-10-ß",
        "type": "usage.recorded.v1",
        "body": '{"feature":"ai_video.generate","quantity":"10","credits":1000000,"rate_card":1}',
    },
    "block": {
        "first": 6,
        "last": 12,
        "before": "c6n3TItzrHNqzNzGKC5Sk3i9C/LuXoNXVqV+X7yV4Tk=",
        "path": (
            "VleKJhMirQP4Tlf9dD9Q88BqaVgOvT8lkELosHyfZphjTXT3izYS0pMOpJtCyO9ajnsTf6fCSLwXy/M1OwwQlVGBDYyQuQwW0IZt"
            "zIGXW5iXc9O5jTrwGtMqTpyJU3DP"
        ),
    },
    "shard": {
        "last": 12,
        "head": "uNJkD6OPAr7fcZuA45wdkLjVFJr/pZA+/BPm5Wu3HtY=",
        "index": 1,
        "size": 2,
        "blocks": "qDd1cxoPG1Si966o00zrcpbs1qCOUQy8qWRpexkLAcY=",
        "path": (
            "E0gG+ZBSvaWejr68a1R9XmoLfvLRGrYuYLiZATvzkKs9F3fw8ZumJuLZZBXINMPDgZGv24HH+Lhih3ux1eckwKn/JVDCzPJVGPNp"
            "rLkRtmkly/qocHRlVnT6YBCJZ5Tr/EG11LBnUtJMrO2iQrpkgt89GLcwbSk7d8YtAopC3PMMMm9MqakjJ0v7Yjl7l23SK9LH/91r"
            "0MMMWHz3RmCR7z06lSoKZ7vE8Cjl4PSN7Rfgg5bCfBsRo4/6z5cU1PTF"
        ),
    },
    "note": {
        "number": 2,
        "time": "2026-11-23T10:16:30.123456Z",
        "unpublished": False,
        "path": "FvLpdcuWPisYckZ17UTxHxQHNrZdXwq/k9IaIHsugeI=",
        "text": (
            "creditwell/7f9c\n"
            "2\n"
            "D94PERk1AHzRJig+JKgvG3GSJqptSdZXR1G1Yjf+Nfc=\n"
            "\n"
            "— creditwell/7f9c 2EXqY6kYnVTrT6W1/DoNvCNt3iUN1yy8K6iMjMulKzMikhtBbLk8nggX9pIQ8XwHRRkJRbPCwYttVwhPcWkgbeNHqwQ=\n"
        ),
    },
}
USED: Example = {
    "by": "feature", "attribute": "tier", "attributes": ["tier"], "days": 30, "since": "2026-10-25", "position": POSITION,
    "items": [{
        "feature": "ai_image.generate", "name": "AI image", "credits": "600", "uses": 10,
        "features": {"ai_image.generate": "600"}, "members": {"mem_7": "540", "mem_8": "60"},
        "values": {"high": "600"},
    }],
}  # fmt: skip

NONE: Example = {"total": "0", "included": "0", "additional": "0"}
OCTOBER: Example = {
    "cycle": 0, "starts_at": "2026-10-01T07:00:00.000000Z", "ends_at": "2026-11-01T08:00:00.000000Z",
}  # fmt: skip
STATEMENT_HEAD: Example = {
    **OCTOBER, "position": "40:19077", "sealed_at": "2026-11-01T09:00:11.904113Z", "checkpoint": 20_419,
}  # fmt: skip
STATEMENT: Example = {
    "format": "creditwell statement 1", "log": "7f9c", "team_id": "team_42", "plan": "pro", "zone": "Europe/Berlin", **OCTOBER,
    "sealed": {
        "position": "40:19077", "recorded_at": STATEMENT_HEAD["sealed_at"], "checkpoint": 20_419,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    },
    "opening": NONE, "refilled": {"total": "3000", "included": "3000", "additional": "0"},
    "bought": {"total": "5000", "included": "0", "additional": "5000"}, "topped_up": NONE, "granted": NONE, "given_back": NONE,
    "adjusted": NONE, "taken_back": NONE, "used": {"total": "1200", "included": "1200", "additional": "0"},
    "expired": {"total": "1800", "included": "1800", "additional": "0"}, "refunded": NONE, "disputed": NONE,
    "closing": {"total": "5000", "included": "0", "additional": "5000"},
    "by_feature": [{
        "feature": "ai_image.generate", "name": "AI image", "taken_back": "0",
        "components": [{"name": "AI image", "unit": "images", "quantity": "80", "uses": 20, "credits": "1200"}],
    }],
    "by_member": [{"member_id": "mem_7", "uses": 20, "used": "1200", "taken_back": "0"}],
    "payments": [{
        "payment": "pi_1", "position": "40:18020", "at": "2026-10-12T10:15:30.123456Z", "paid_in_this_cycle": True,
        "credits": "5000", "currency": "usd", "gross": "48.00", "tax": "0.00", "refunded": "0.00", "disputed": "0.00",
        "won_back": "0.00",
    }],
    "late": [], "corrections": [], "left": {"purchased": "5000"}, "rate_cards": [1],
}  # fmt: skip

PACK: Example = {
    "pack": "standard", "name": "Standard", "credits": "5000", "amount": 4_800, "currency": "usd",
    "prices": {"usd": 4_800, "eur": 4_500},
}  # fmt: skip
RATE_CARD: Example = {
    "version": 2, "effective_from": REFILL,
    "categories": [{"id": "ai_image", "name": "AI image generation", "features": [{
        "feature": "ai_image.generate", "name": "AI image", "per": "use", "unit": "image", "requires": {"top_ups": False, "plan": None},
        "rates": [
            {"attributes": {"tier": "standard"}, "credits": "4"},
            {"attributes": {"tier": "high"}, "credits": "15", "requires": {"top_ups": True, "plan": "pro"}},
        ],
    }]}],
}  # fmt: skip

QUOTE: Example = {
    "credits": "60", "affordable": True, "allowed": True, "reason": None, "warning": None, "position": POSITION,
    "items": [{"credits": "60", "allowed": True, "reason": None, "detail": None, "warning": None}],
}  # fmt: skip
HOLD: Example = {
    "id": HOLD_ID, "credits": "60", "state": "open", "expires_at": SOON, "member_id": "mem_7", "position": POSITION,
}  # fmt: skip
LIMIT: Example = {"daily": "500", "monthly": "5000", "hard": True}
MEMBER_LIMIT: Example = {"member_id": "mem_8", **LIMIT, "position": POSITION}

RECEIPT: Example = {
    "status": "applied", "position": POSITION, "recorded_at": ITEM["recorded_at"], "credits": "-60", "reason": None,
    "detail": None, "duplicates": 0, "conflicts": 0, "corrects": None,
}  # fmt: skip
PENDING: Example = {
    **RECEIPT, "status": "pending", "position": None, "recorded_at": None, "credits": None, **USAGE,
    "href": f"/v1/teams/team_42/receipts?source=%2Ffeatures%2Fvideo&id={USAGE['id']}",
}  # fmt: skip

SENT_ALONE: Example = {"index": 0, "status": 202, "receipt": PENDING, "code": None, "detail": None}
NOT_SENT: Example = {
    "index": 1, "status": 422, "receipt": None, "code": "invalid_request", "detail": "event 2: id: is missing",
}  # fmt: skip

GRANT: Example = {"credits": "250", "reason": "An apology for yesterday", "expires_at": REFILL}
ADJUSTMENT: Example = {"credits": "-12.5", "reason": "Counted twice", "refers_to": POSITION}
CORRECTION: Example = {"quantity": "3", "reason": "One image was empty"}
CORRECTED: Example = {
    "id": "40:20419:0", "corrects": ITEM["id"], "entry": "40:20420:0", "credits": "15", "position": "40:20420",
}  # fmt: skip
REQUEST: Example = {
    "id": "0b6f9d2b-5c1e-5f7a-9a53-2f1f6f0f4b63", "state": "waiting", "kind": "grant", "credits": "5000",
    "waits_until": "2026-12-07T10:15:30.123456Z", "entry": None, "position": POSITION,
}  # fmt: skip
CHANGE: Example = {
    "at": AT, "team_id": "team_42", "type": "plan.assigned.v1", "what": "Plan pro, version 1: 3000 credits a cycle",
    "by": "mem_9", "approved_by": None, "position": POSITION,
}  # fmt: skip
REQUESTED: Example = {
    **REQUEST, "reason": GRANT["reason"], "requested_by": "mem_9", "requested_at": AT, "refers_to": None,
    "expires_at": REFILL, "corrects": None, "quantity": None, "quantities": None, "ended_by": None, "ended_at": None,
}  # fmt: skip

TOP_UP_COST: Example = {"credits": "500", "amount": 500, "currency": "usd"}
TOP_UP_BODY: Example = {
    "enabled": True, "threshold": "500", "credits": "500", "monthly_cap": CAP, "max_per_month": 10, "cool_down_seconds": 300,
}  # fmt: skip
TOP_UP: Example = {
    **TOP_UP_BODY, "restore_to": None, "state": "on", "reason": None,
    "next_charge_preview": {**TOP_UP_COST, "now": False, "not_now": None},
    "price": {"unit_price": "1", "currency": "usd", "max_charge": 50_000, "monthly_cap": 200_000, "min_credits": "500", "step": "100"},
    "charged_this_month": {"amount": 1_500, "currency": "usd", "count": 3, "month": "2026-11"}, "card": {"brand": "visa", "last4": "4242"},
    "cool_until": None, "position": "40:20391",
}  # fmt: skip
SIMULATION: Example = {
    "days": 30, "charges": [{**TOP_UP_COST, "at": AT}], "total": {"amount": 500, "currency": "usd"}, "each": TOP_UP_COST,
    "next_charge_preview": TOP_UP["next_charge_preview"],
}  # fmt: skip
CONFIRMATION: Example = {"url": "https://hooks.stripe.com/3d_secure/pi_1", "state": "confirm", "position": POSITION}
PURCHASE: Example = {
    "id": PURCHASE_ID, **NO_PAGE, "state": "credited", "pack": "standard", "credits": "5000", "amount": 4_800,
    "currency": "usd", "save_card": True, "receipt_url": "https://pay.stripe.com/receipts/1", "position": POSITION,
}  # fmt: skip
CARD_PAGE: Example = {
    "id": PURCHASE_ID, **NO_PAGE, "state": "open", "checkout_url": "https://checkout.stripe.com/c/pay/cs_1", "card": None,
    "position": POSITION,
}  # fmt: skip
NOTICE_DATA: Example = {
    "team_id": "team_42",
    "position": POSITION,
    "url": "https://app.example.com/teams/team_42/usage",
}
NOTICES: dict[str, Example] = {
    kind: {"type": kind, "timestamp": AT, "data": {**NOTICE_DATA, "title": title, "message": message, **figures}}
    for kind, title, message, figures in (
        ("balance.ran_low.v1", "Credits are running low",
         "412.5 credits are available, fewer than the threshold of 500. An admin can buy credits or enable top-ups on the Usage page.",
         {"available": "412.5", "threshold": "500", "top_up_enabled": False}),
        ("balance.ran_out.v1", "Credits are used up",
         ("All credits are used or set aside, and 12.5 more than there were. New work may be refused until there are some again: "
         "an admin can buy credits on the Usage page."),
         {"available": "-12.5"}),
        ("balance.recovered.v1", "Credits are back above the threshold", "4,987.5 credits are available again. There is nothing to be done.",
         {"available": "4987.5", "threshold": "500"}),
        ("top_up.failed.v1", "A top-up failed",
         ("No money was taken and no credits were added. The card was declined. It will be tried again; another card on the Usage page may "
         "help sooner."),
         {"attempt_id": ATTEMPT_ID, "reason": "declined_retry_later", "decline_code": "insufficient_funds", "next_try_at": SOON}),
        ("top_up.action_required.v1", "Confirm the payment of a top-up",
         ("The bank wants an admin to confirm the payment. Open the Usage page and confirm it there; until then nothing is charged and no "
         "credits are added."),
         {"attempt_id": ATTEMPT_ID}),
        ("top_up.suspended.v1", "Top-ups are paused",
         ("Nothing more is charged: the card was declined three times. Top-ups go on when an admin changes the card or buys credits on the "
         "Usage page."),
         {"declines": 3}),
        ("top_up.resumed.v1", "Top-ups go on", "Top-ups go on: the dispute was won. There is nothing to be done.",
         {"reason": "the dispute was won"}),
        ("top_up.skipped.v1", "A top-up was not made",
         ("The balance is low and nothing was charged. The monthly cap on money is reached. An admin can raise it, or buy credits, on the "
         "Usage page; otherwise top-ups go on next month."),
         {"reason": "cap_money", "next_decision_at": REFILL}),
    )
}  # fmt: skip
PAYMENT_METHOD: Example = {"card": TOP_UP["card"], "changed_at": AT, "changed_by": "mem_7", "position": POSITION}
