"""A stand-in for Stripe that takes no real money: for the demo, the tests and the fault runs.

It answers as Stripe's API of version 2026-10-28 does, refusals and silence too: idempotency keys, declines, 3DS,
Checkout pages that a person clicks through, refunds, disputes, and signed webhooks. What it does not know it refuses,
as Stripe refuses an unknown parameter, so that nothing seems to work here that would fail there. It listens on the
loopback interface only. Scripts play the world's bad days through `/_control` (see `control.py`), and
`/_control/books` shows its own books, which are the truth that our charges are compared with.
"""

from .app import create_app
from .server import running, serve

__all__ = ["create_app", "running", "serve"]
