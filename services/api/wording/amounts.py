"""Credits as people write and read them: decimals outside, whole micro-credits inside."""

from schemas.credits import MicroCredits, format_credits, parse_credits
from services.runtime.errors import Refused


def micro(text: str) -> MicroCredits:
    """Micro-credits of what somebody wrote. Raises Refused: invalid_credits, it is more than the log can hold."""
    credits = parse_credits(text)
    if abs(credits) >= 2**63:
        raise Refused("invalid_credits", f"{text} credits are more than can be kept")
    return credits


def micro_if_any(text: str | None) -> int | None:
    """As `micro`, where somebody wrote anything."""
    return None if text is None else micro(text)


def shown(credits: MicroCredits | None) -> str | None:
    """Credits to be read, if there are any to tell of."""
    return None if credits is None else format_credits(credits)
