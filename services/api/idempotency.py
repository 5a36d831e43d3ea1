"""Commands that may come twice: the same `Idempotency-Key` gets the same answer, and the work is done once.

The answer is kept by the transaction that does the work. Who comes while the first is still at it waits for its COMMIT,
and then finds the answer. A key belongs to a team, a caller and a route, for 30 days.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated
from uuid import UUID, uuid5

from fastapi import Header
from pydantic_core import from_json, to_json
from starlette.responses import Response

from services.api.access import TeamRequest
from services.api.answers import answer
from services.api.problems import KEY_HEADER, problem
from services.credits.holds.at_once import AnswerParts, AtOnce, CommandKey, KeptAnswer
from services.store.append import Beside
from services.store.connect import Connection
from services.store.shards import shard_of

COMMANDS = UUID("6d7f2f0c-3f5c-4a54-9a53-0f4d6f9d2b11")  # the namespace of ids derived from keys

# From here on the transaction sees the team.
CLAIM = "SELECT claim_key($1, $2, $3, $4, $5, $6)"
STORED_ANSWER = """
    SELECT body_sha256, status, answer FROM command_answers
    WHERE shard = $1 AND team_id = $2 AND sub = $3 AND route = $4 AND key = $5
"""
KEEP = """
    UPDATE command_answers SET status = $6, answer = $7
    WHERE shard = $1 AND team_id = $2 AND sub = $3 AND route = $4 AND key = $5
"""


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What a command answers; it `is_kept` where the work has written it beside its facts, as `kept` says."""

    body: object
    status: int = 200
    etag: str | None = None
    is_kept: bool = False


KEYED = ("idempotency_key_reused", "already_done", "busy")  # how every route with a key may fail
NAMED = (*KEYED, "idempotency_key_required")  # and one that needs it

_key = Header(
    alias=KEY_HEADER, min_length=1, max_length=255, description="Names this attempt of this caller, the token's `sub`."
)
Key = Annotated[str | None, _key]
RequiredKey = Annotated[str, _key]

CommandWork = Callable[[Connection, str], Awaitable[CommandAnswer]]
# Work that needs no transaction around it: None where it needs one after all, with nothing done.
WorkAtOnce = Callable[[AtOnce[CommandAnswer], str], Awaitable[CommandAnswer | KeptAnswer | None]]
Command = tuple[int, str, str, str, str]


async def answer_once(
    ask: TeamRequest,
    key: str | None,
    work: CommandWork,
    *,
    team_id: str | None = None,
    at_once: WorkAtOnce | None = None,
) -> Response:
    """Do a command's work and answer, or repeat the answer that it had.

    `at_once` is tried first. `work` gets the transaction and an id derived from the key, for facts that must not be
    stored twice. `team_id` says whose rows it is about, where that is not the team of the request.
    """
    team = team_id or ask.team_id
    if key is None:
        async with ask.context.lanes.of(shard_of(team)), ask.transaction(team) as connection:
            return _response(await work(connection, ""))
    command = _command(ask, key, team)
    digest = sha256(await ask.request.canonical()).digest()
    async with ask.context.lanes.of(shard_of(team)):
        if at_once is not None:
            way = AtOnce(ask.quick_read(), ask.context.pool, CommandKey(*command, digest), _in_parts)
            match await at_once(way, str(_id_of(command))):
                case KeptAnswer() as stored:
                    return _repeated(stored, digest)
                case CommandAnswer() as answered:
                    return _response(answered)
        return await _in_a_transaction(ask, command, digest, work)


async def _in_a_transaction(ask: TeamRequest, command: Command, digest: bytes, work: CommandWork) -> Response:
    async with ask.context.pool.acquire() as connection, connection.transaction():
        if not await connection.fetchval(CLAIM, *command, digest):
            stored = await connection.fetchrow(STORED_ANSWER, *command)
            assert stored is not None, "whoever holds the key has committed"
            return _repeated(KeptAnswer(*stored), digest)
        answered = await work(connection, str(_id_of(command)))
        if not answered.is_kept:
            await connection.execute(*_keep(command, answered))
    return _response(answered)


def kept(ask: TeamRequest, key: str, answered: CommandAnswer) -> Beside:
    """What keeps the answer, for work that writes it in the statement of its facts: its lock is held the shorter."""
    sql, *arguments = _keep(_command(ask, key, ask.team_id), answered)
    return Beside(sql, arguments)


def id_of_command(ask: TeamRequest, key: str) -> UUID:
    """The id of what a key names, for work that keeps its own answer.

    Such work asks others, so no transaction may be open meanwhile.
    """
    return _id_of(_command(ask, key, ask.team_id))


def _command(ask: TeamRequest, key: str, team_id: str) -> Command:
    return (shard_of(team_id), team_id, ask.caller.sub, f"{ask.request.method} {ask.request.url.path}", key)


def _keep(command: Command, answered: CommandAnswer) -> tuple[str, *tuple[object, ...]]:
    return KEEP, *command, answered.status, to_json([answered.body, answered.etag])


def _id_of(command: Command) -> UUID:
    return uuid5(COMMANDS, to_json(command).decode())


def _in_parts(answered: CommandAnswer) -> AnswerParts:
    """An answer around its position; in JSON a quote within a text is never bare, so nothing else looks like it."""
    before, position, behind = to_json([answered.body, answered.etag]).partition(b'"position":"')
    shard, _, behind = behind.partition(b":")
    return AnswerParts(answered.status, before + position + shard + b":", behind.removeprefix(b"0"))


def _repeated(stored: KeptAnswer, digest: bytes) -> Response:
    if not stored.answer:
        raise problem(409, "already_done", "this command was carried out; its answer was erased with a member it named")
    if stored.body_sha256 != digest:
        raise problem(
            422, "idempotency_key_reused", "this Idempotency-Key came with another body before; use a new one"
        )
    body, etag = from_json(stored.answer)
    return _response(CommandAnswer(body, stored.status, etag), {"idempotency-replayed": "true"})


def _response(answered: CommandAnswer, headers: dict[str, str] | None = None) -> Response:
    tag = {} if answered.etag is None else {"etag": answered.etag}
    return answer(answered.body, answered.status, {**tag, **(headers or {})})
