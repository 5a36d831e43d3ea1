"""Rate cards in the log: seeded once from the catalog, afterwards published as facts.

A card says when it comes into force, at least a minute ahead. Recorders look for new ones every ten seconds and price
nothing with cards that are a minute old. So by then every one of them knows it. Usage is priced by the card in force at
its own time, or now where its clock runs ahead: so its price is the same whichever recorder takes it.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from schemas.catalog import Catalog
from schemas.facts import RATE_CARD_TEAM, NewFact, RateCardPublished, Stored
from schemas.places import Place
from schemas.pricing import RateCards
from schemas.rates import RateCard, parse_rate_card
from services.runtime.errors import Refused, Unavailable
from services.store.append import append, lock_shard
from services.store.connect import Connection
from services.store.numbered import all_of, last_of, number_of, numbered

CARDS = "creditwell:rate-cards"
NOTICE = timedelta(seconds=60)


async def load_rate_cards(connection: Connection, listed: Iterable[str] = ()) -> RateCards:
    """Every card ever published. Under row-level security the session must read as team `creditwell`.

    `listed` are the attributes that the catalog has stored: for whoever records usage.

    Raises:
        Unavailable: none is published yet, so nothing can be priced.
    """
    cards = [_card_of(stored) for stored in await all_of(connection, RATE_CARD_TEAM, CARDS)]
    if not cards:
        raise Unavailable(
            "nothing can be priced before the catalog is seeded; run `creditwell migrate`", code="no_rate_card"
        )
    return RateCards(cards, listed)


def _card_of(stored: Stored) -> RateCard:
    fact = stored.fact()
    assert isinstance(fact, RateCardPublished), f"{stored.place} is no rate card"
    return parse_rate_card(fact.card)


async def newest_version(connection: Connection) -> int:
    """The number of the card published last, 0 before the first: tells a reader whether to load them again."""
    last = await last_of(connection, RATE_CARD_TEAM, CARDS)
    return 0 if last is None else number_of(last.id)


async def seed_catalog(connection: Connection, catalog: Catalog) -> bool:
    """Publish the catalog's card as version 1 in a log that has none; True if it was done now.

    In the caller's transaction.
    """
    now = await lock_shard(connection, RATE_CARD_TEAM)
    if await newest_version(connection):
        return False
    await append(connection, [_published(catalog.rate_card, now, None)])
    return True


async def publish_rate_card(connection: Connection, card: RateCard, *, published_by: str) -> Place:
    """Publish the next card, in the caller's transaction.

    Raises:
        Refused: `rate_card_version`, it is not the next one; `too_soon`, it would be in force before everybody knows
            it.
    """
    now = await lock_shard(connection, RATE_CARD_TEAM)
    following = await newest_version(connection) + 1
    if card.version != following:
        raise Refused("rate_card_version", f"the next rate card is version {following}, not {card.version}")
    if card.effective_from < now + NOTICE:
        earliest = (now + NOTICE).isoformat(timespec="seconds")
        raise Refused(
            "too_soon", f"effective_from must be at least {NOTICE.seconds} seconds ahead: {earliest} or later"
        )
    appended = await append(connection, [_published(card, now, published_by)])
    return appended.places[0]


def _published(card: RateCard, now: datetime, published_by: str | None) -> NewFact:
    return NewFact(RATE_CARD_TEAM, CARDS, numbered("card", card.version), now, RateCardPublished(
        version=card.version, effective_from=card.effective_from, card=card.model_dump(mode="json"), published_by=published_by,
    ))  # fmt: skip
