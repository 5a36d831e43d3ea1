"""Two containers that share a volume share no spool: one sends what is in it, once, whoever is killed."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.local.stack import Stack
from tests.integration.schemas.test_emitter_by_http import KILLED, bearer, ids
from tests.support.api import Api
from tests.support.containers import Container, a_container, need_containers, run_contained
from tests.support.node import NODE, PROGRAMS, need_node
from tests.support.waiting import until

AWAY = "http://127.0.0.1:1"
IN_USE = "is in use by"
STRANGER = 54_321  # of whom this machine knows nothing
TAKES = """
import json, sys
from schemas.emitter import Emitter
url, token, team, source, spool = sys.argv[1:]
emitter = Emitter(http=url, token=token, source=source, spool=spool)
emitter.flush()
print(json.dumps(emitter.metrics().delivered))
"""


@dataclass(frozen=True)
class Service:
    """A service that spools: how it is begun, and what it is told."""

    language: str
    spool: Path
    source: str
    team: str
    token: str
    url: str

    def reports(self, url: str = AWAY) -> tuple[list[str], str]:
        """One that reports for ever, and says each id; the API is away."""
        return self._program(KILLED, "forever", url)

    def takes(self) -> tuple[list[str], str]:
        """One that sends what is there, and says how much it was."""
        return self._program(TAKES, "takes", self.url)

    def _program(self, python: str, does: str, url: str) -> tuple[list[str], str]:
        if self.language == "python":
            return [sys.executable, "-c", python, url, self.token, self.team, self.source, str(self.spool)], ""
        about = {"url": url, "token": self.token, "team": self.team, "source": self.source, "spool": str(self.spool)}
        return [str(NODE), str(PROGRAMS / "emitter.mjs")], json.dumps(about | {"does": does})

    def id_of(self, line: str) -> str:
        return line.strip() if self.language == "python" else str(json.loads(line))

    def delivered(self, done: subprocess.CompletedProcess[str]) -> int:
        """How many a program has sent; none, where another had the spool."""
        if done.returncode != 0:
            assert IN_USE in done.stderr, done.stderr
            return 0
        said: Any = json.loads(done.stdout)
        return int(said if self.language == "python" else said["delivered"])

    def silent(self) -> None:
        """As if who has been killed had been so for an hour. Node goes by that, where flock tells Python at once."""
        for lock in self.spool.glob("lock-*"):
            os.utime(lock, (0, 0))

    def give_to(self, user: int) -> None:
        """Its files are another user's; anybody may make more in the folder."""
        self.spool.chmod(0o777)
        for file in self.spool.iterdir():
            os.chown(file, user, user)


@pytest.fixture(scope="module", autouse=True)
def containers() -> None:
    need_containers()


@pytest.fixture(params=["python", "node"])
def service(request: pytest.FixtureRequest, api: Api, tmp_path: Path) -> Service:
    if request.param == "node":
        need_node()
    source = f"/features/{secrets.token_hex(6)}"
    return Service(request.param, tmp_path / "spool", source, api.team_id, bearer(api), api.url)


def reported(service: Service, container: Container, count: int) -> list[str]:
    return [service.id_of(container.line()) for _ in range(count)]


def reported_until_killed(service: Service, container: Container) -> Iterator[str]:
    """What it says from now on, and up to its death; the last line may be half said."""
    yield from reported(service, container, 300)
    container.kill()
    container.process.kill()  # else the pipe stays open
    assert container.process.stdout is not None
    for line in container.process.stdout:
        if line.endswith("\n"):
            yield service.id_of(line)


async def taken(service: Service) -> int:
    """How many a container sends once it has the spool, for which it asks until then."""
    command, told = service.takes()

    async def try_it() -> subprocess.CompletedProcess[str] | None:
        done = await asyncio.to_thread(run_contained, command, told=told)
        return done if service.delivered(done) or done.returncode == 0 else None

    done = await until(try_it, what="it has the spool")
    return service.delivered(done)


async def test_what_a_killed_container_left_is_sent_once_by_one_of_two_others(service: Service, stack: Stack) -> None:
    command, told = service.reports()

    def killed() -> list[str]:
        with a_container(*command, told=told) as container:
            return list(reported_until_killed(service, container))

    said = await asyncio.to_thread(killed)
    service.silent()
    one, other = await asyncio.gather(taken(service), taken(service))

    reached = await ids(stack, service.source)
    assert sorted((one, other)) == [0, len(reached)]
    assert set(said) <= set(reached)
    assert len(reached) <= len(said) + 1


async def test_a_spool_that_a_container_has_is_nobody_elses_until_it_is_killed(service: Service, stack: Stack) -> None:
    command, told = service.reports()
    takes, told_too = service.takes()

    def tried() -> tuple[list[str], list[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]:
        with a_container(*command, told=told) as container:
            said = reported(service, container, 50)
            refused = [run_contained(takes, told=told_too), container.run(*takes, told=told_too)]
            said += reported(service, container, 50)
            container.kill()
            # Nobody waits for it, so its pid is still there: the next program in the container has the spool at once.
            return said, refused, container.run(*takes, told=told_too)

    said, refused, after = await asyncio.to_thread(tried)

    assert [IN_USE in done.stderr for done in refused] == [True, True]
    reached = await ids(stack, service.source)
    assert after.returncode == 0, after.stderr
    assert service.delivered(after) == len(reached)
    assert set(said) <= set(reached)


async def test_whoever_may_not_read_a_spool_takes_nothing_and_spoils_nothing(service: Service, stack: Stack) -> None:
    command, told = service.reports()
    takes, told_too = service.takes()

    def tried() -> tuple[list[str], list[subprocess.CompletedProcess[str]]]:
        with a_container(*command, told=told) as container:
            said = reported(service, container, 50)
            service.give_to(STRANGER)
            while_there = run_contained(takes, told=told_too, powers=False)
            said += reported(service, container, 50)
            container.kill()
            service.give_to(STRANGER)
            service.silent()
            afterwards = run_contained(takes, told=told_too, powers=False)
            return said, [while_there, afterwards, container.run(*takes, told=told_too)]

    said, (while_there, afterwards, owner) = await asyncio.to_thread(tried)

    assert while_there.returncode != 0
    assert IN_USE in while_there.stderr or "denied" in while_there.stderr
    assert afterwards.returncode != 0
    assert "denied" in afterwards.stderr
    reached = await ids(stack, service.source)
    assert service.delivered(owner) == len(reached)
    assert set(said) <= set(reached)
