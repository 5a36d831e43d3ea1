"""Calls of a model for tests: a rate card that prices their tokens, and the events that report them."""

from datetime import UTC, datetime
from typing import Any

from schemas.catalog import load_catalog
from schemas.facts import RATE_CARD_TEAM, NewFact, RateCardPublished
from schemas.rates import parse_rate_card
from services.credits.rate_cards import CARDS, seed_catalog
from services.store.append import append
from services.store.connect import Connection
from services.store.numbered import numbered
from tests.support.usage import reported

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
USED = {"input_token": "1200", "cached_input_token": "800", "output_token": "350"}  # 0.51 credits of the large model
CHAT = {
    "feature": "ai_chat.answer", "name": "Chat answer", "per": "token", "for_units": 1_000_000,
    "rates": [
        {
            "attributes": {"model": "large"},
            "credits_by_quantity": {"input_token": "125", "cached_input_token": "12.5", "output_token": "1000"},
        },
        {"attributes": {"model": "small"}, "credits_by_quantity": {"input_token": "5", "output_token": "40.5"}},
    ],
}  # fmt: skip


async def publish_chat(connection: Connection) -> None:
    """Card 2, in force for long: the catalog's, and one feature whose uses have several quantities.

    To be called before anybody looks at the cards: who has looked does so again after some seconds.
    """
    first = load_catalog().rate_card.model_dump(mode="json")
    category = {"id": "ai_chat", "name": "AI chat", "features": [CHAT]}
    card = {**first, "version": 2, "effective_from": SINCE, "categories": [*first["categories"], category]}
    written = parse_rate_card(card).model_dump(mode="json")
    fact = RateCardPublished(version=2, effective_from=SINCE, card=written)
    async with connection.transaction():
        await seed_catalog(connection, load_catalog())
        await append(connection, [NewFact(RATE_CARD_TEAM, CARDS, numbered("card", 2), SINCE, fact)])


def called(team_id: str, id: str, *, model: str = "large", quantities: Any = None, **envelope: Any) -> dict[str, Any]:
    """A `usage.reported.v1` of one call of a model."""
    event = reported(team_id, id, **envelope)
    data = {"feature": "ai_chat.answer", "attributes": {"model": model}, "quantities": quantities or USED}
    return event | {"data": {"member_id": "mem_1", **data}}
