"""Forged tokens at a real route: every known way in is tried over HTTP, and each is answered by 401."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.local.processes import PLAIN_HTTP
from deploy.local.stack import Stack
from tests.support.api import NO_LIMITS, Api, an_api
from tests.support.tokens import AUDIENCE, EC, ISSUER, RSA, attacks, claims_at, encoded
from tests.support.waiting import PATIENCE_SECONDS, until

TEAM = "team_42"


def publish(jwks: Path, *keys: Any) -> None:
    """The issuer's keys are these."""
    jwks.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    publish(tmp_path / "jwks.json", RSA, EC)
    return tmp_path / "jwks.json"


@pytest.fixture
async def api(stack: Stack, database: str, jwks: Path) -> AsyncIterator[Api]:
    """The API as in production: the issuer's keys, and no key of development."""
    told = {"jwks": str(jwks), "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "insecure_dev": False,
        "public_url": "https://credits.example.com",
    }  # fmt: skip
    async with an_api(stack, database, **NO_LIMITS | told) as running:
        await running.team(TEAM)
        yield running


@asynccontextmanager
async def a_stranger() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server with keys of its own: its address, and whatever is asked of it."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1_000))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json", asked


async def ask(api: Api, token: str, team: str = TEAM) -> httpx2.Response:
    """A team's balance, with this token."""
    async with httpx2.AsyncClient(
        base_url=api.url, trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS
    ) as client:
        return await client.get(f"/v1/teams/{team}/balance", headers={"authorization": f"Bearer {token}".strip()})


async def test_a_token_that_is_forged_in_any_known_way_is_a_401_and_nobody_else_is_asked_for_keys(api: Api) -> None:
    now = datetime.now(UTC)
    async with a_stranger() as (elsewhere, asked):
        good = await ask(api, encoded(claims_at(now)))
        answers = {name: await ask(api, token) for name, token in attacks(now, elsewhere).items()}

    assert good.status_code == 200
    assert {name for name, answer in answers.items() if answer.status_code != 401} == set()
    assert {answer.json()["code"] for answer in answers.values()} == {"unauthenticated"}
    assert {answer.headers["www-authenticate"] for answer in answers.values()} == {"Bearer"}
    assert asked == []


async def test_a_good_token_is_for_its_own_team_and_another_one_is_not_there(api: Api) -> None:
    await api.team("team_43")

    answer = await ask(api, encoded(claims_at(datetime.now(UTC))), team="team_43")

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_team")


async def test_a_key_that_the_issuer_takes_back_ends_its_tokens(api: Api, jwks: Path) -> None:
    token = encoded(claims_at(datetime.now(UTC)))
    before = await ask(api, token)

    publish(jwks, RSA)

    async def is_refused() -> httpx2.Response | None:  # the file is looked at every second
        answer = await ask(api, token)
        return answer if answer.status_code != 200 else None

    after = await until(is_refused, what="the token is refused")
    assert before.status_code == 200
    assert (after.status_code, after.json()["code"]) == (401, "unauthenticated")
