"""A stand-in for Stripe that takes no real money: for the demo, the tests and the fault runs.

It answers as Stripe's API of version 2026-10-28 does, refusals and silence too: idempotency keys, declines, 3DS,
Checkout pages that a person clicks through, refunds, disputes, and signed webhooks. What it does not know it refuses,
as Stripe refuses an unknown parameter, so that nothing seems to work here that would fail there. It listens on the
loopback interface only. Scripts play the world's bad days through `/_control` (see `control.py`), and
`/_control/books` shows its own books, which are the truth that our charges are compared with.

    app           the stand-in, put together
    server        serving it on the loopback interface
    world         all that it holds while it runs
    api           who may ask, what is asked, what was answered before
    call          one request, as the endpoints see it
    forms         form fields with brackets, checked
    idempotency   the same request twice is done once, for a day
    errors        how Stripe says no
    objects       what it keeps books of, one module for each kind
    books         the books
    cards         the well-known test cards
    pages         the pages that a person sees
    webhooks      events, signed and posted until they are taken
    control       what a script may order, as nobody may at Stripe
    faults        the network's and Stripe's bad days, by script
    clock         its time
"""

from .app import create_app
from .server import running, serve

__all__ = ["create_app", "running", "serve"]
