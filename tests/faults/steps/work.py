"""What a work is, and what several of them begin with."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.faults.steps.ground import Ground
from tests.support.api import key
from tests.support.holds import held

APPEND = ("append:heads_taken", "append:written")


async def nothing() -> list[str]:
    return []


@dataclass(frozen=True)
class Work:
    """One kind of work.

    Attributes:
        steps: where somebody may die over it, each of which it surely comes to.
        prepare: what makes it due for a team.
        act: do it; what it answers is the same each time.
        comes_to: how many facts of which kinds the team has in the end.
        check: what else is wrong then.
    """

    steps: tuple[str, ...]
    prepare: Callable[[Ground, str], Awaitable[None]]
    act: Callable[[Ground, str], Awaitable[object]]
    comes_to: Mapping[str, int] = field(default_factory=dict)
    check: Callable[[Ground, str], Awaitable[list[str]]] = lambda ground, team: nothing()


async def exists(ground: Ground, team: str) -> None:
    await ground.api.team(team)


async def holds(ground: Ground, team: str) -> None:
    await exists(ground, team)
    await held(ground.connection, "render", 5, team_id=team)


def command(role: str, path: str, body: Mapping[str, object]) -> Callable[[Ground, str], Awaitable[object]]:
    """A command over HTTP, always with one key."""

    async def act(ground: Ground, team: str) -> object:
        client = ground.api.client(role, team="*" if role == "operator" else team)
        answer = await client.post(f"/v1/teams/{team}/{path}", json=body, headers=key())
        assert answer.is_success, f"{answer.status_code}: {answer.text}"
        return answer.json()

    return act
