"""Addresses that others have named, before a browser is led there."""

from urllib.parse import urlsplit

STRIPE = "stripe.com"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def receipt_link(address: str | None) -> str | None:
    """The address of a receipt, if it is a page of Stripe's; None otherwise, for whatever stands in a fact.

    The stand-in of development lies on this machine, and speaks http.
    """
    if address is None or not address.isascii() or not address.isprintable():
        return None
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return None
    if parts.username is not None or parts.password is not None:
        return None
    theirs = parts.scheme == "https" and (host == STRIPE or host.endswith(f".{STRIPE}"))
    return address if theirs or (parts.scheme == "http" and host in LOOPBACK) else None
