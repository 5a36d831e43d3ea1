"""The way to Stripe's pages and back.

Stripe itself, where browsers may be sent to afterwards, and the head of a team's shard.
"""

from typing import Final
from urllib.parse import urlsplit

from schemas.places import Place
from services.api.access import TeamRequest
from services.api.problems import problem
from services.money.stripe_client import Charges
from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.read import head_of
from services.store.shards import shard_of

PAGE: Final = "/usage"


def stripe_of(ask: TeamRequest) -> Charges:
    """Our account at Stripe. Raises Problem: no_stripe_key."""
    if ask.context.charges is None:
        raise problem(503, "no_stripe_key", "CREDITWELL_STRIPE_KEY is not set, so nothing can be bought here")
    return ask.context.charges


def return_url_of(ask: TeamRequest, url: str | None) -> str:
    """Where the browser comes back to: our own page, or one of a configured origin.

    Raises:
        Refused: invalid_return_url. Whoever is sent anywhere from a payment believes what stands there.
    """
    own = ask.context.settings.public_url or str(ask.request.base_url).rstrip("/")
    if url is None:
        return own + PAGE
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\{}<>"'):
        raise Refused(
            "invalid_return_url", "write it as a browser would send it, with anything unusual percent-encoded"
        )
    if _origin(url) not in {own, *ask.context.settings.cors_origins}:
        raise Refused("invalid_return_url", f"{url!r:.140} is not of a configured origin (CREDITWELL_CORS_ORIGINS)")
    if "#" in url:
        raise Refused("invalid_return_url", "leave out the part after #: it would travel to Stripe")
    return url


def _origin(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address
        return None
    return f"{parts.scheme}://{parts.netloc}"


async def position_of(connection: Connection, team_id: str, position: int | None) -> str:
    """A position of the team's shard as the outside knows it; its head, if there is none yet."""
    shard = shard_of(team_id)
    if position is None:
        position = await head_of(connection, shard)
    return str(Place(shard, position))
