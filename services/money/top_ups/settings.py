"""How a team's top-ups work: the last `top_up.configured` of its log.

Each change is a fact and numbered, so that two admins can't overwrite each other unseen.
"""

from dataclasses import dataclass

from schemas.facts import NewFact, TopUpConfigured
from schemas.places import Place
from services.runtime.errors import Refused
from services.store.append import append
from services.store.connect import Connection
from services.store.numbered import last_of, number_of, numbered
from services.store.teams import lock_known_team

SETTINGS = "creditwell:top-up-settings"


@dataclass(frozen=True, slots=True)
class SettingsInForce:
    """The settings in force; `number` counts the changes, 0 before the first."""

    number: int = 0
    settings: TopUpConfigured | None = None
    place: Place | None = None


async def read_top_up_settings(connection: Connection, team_id: str) -> SettingsInForce:
    """What the admins chose last."""
    stored = await last_of(connection, team_id, SETTINGS)
    if stored is None:
        return SettingsInForce()
    fact = stored.fact()
    assert isinstance(fact, TopUpConfigured), f"{stored.place} is no top-up setting"
    return SettingsInForce(number_of(stored.id), fact, Place(stored.shard, stored.position))


async def configure_top_ups(
    connection: Connection, team_id: str, settings: TopUpConfigured, *, number: int
) -> SettingsInForce:
    """Make these the settings, if `number` is still what the admin had seen; in the caller's transaction.

    Raises:
        Refused: unknown_team, or changed_meanwhile.
    """
    now = await lock_known_team(connection, team_id)
    in_force = await read_top_up_settings(connection, team_id)
    if in_force.number != number:
        raise Refused("changed_meanwhile", "somebody else changed the settings; look at them and save again")
    fact_id = numbered("settings", number + 1)
    appended = await append(connection, [NewFact(team_id, SETTINGS, fact_id, now, settings)])
    return SettingsInForce(number + 1, settings, appended.places[0])
