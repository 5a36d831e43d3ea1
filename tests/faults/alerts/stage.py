"""The stage of the alerts: a whole Creditwell on real servers, with people, money and usage, watched by Prometheus."""

import asyncio
import os
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from deploy.local.demo.cast import HARBOR
from deploy.local.demo.stage import set_stage
from deploy.local.folders import ROOT
from deploy.local.forkserver import fork_server
from deploy.local.processes import PLAIN_HTTP, Processes
from deploy.local.stack import Stack
from deploy.local.teams import TEAMS, TeamPlan
from deploy.local.world import LocalWorld, connected, start_world
from services.api.tokens import TokenRole
from services.audit.checkpoints import origin_of
from services.credits.directory import DirectoryMember
from services.runtime.processes import PROCESSES
from services.store.connect import Connection
from services.store.lives import LOG
from tests.faults.alerts.prometheus import Prometheus, a_prometheus
from tests.support.cosigning import CosigningStandIn, a_cosigning_witness
from tests.support.proxy import Proxy, a_proxy
from tests.support.usage import Message, used
from tests.support.waiting import until

RECORDERS = ("recorder", "recorder-2")
RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")
EVERYWHERE, *CHAPTERS = RUNBOOK.split("\n## ")
SIGNER = {"CREDITWELL_SIGN_EVERY_SECONDS": "1", "CREDITWELL_ANCHOR_EVERY_SECONDS": "3"}
SOON_SECONDS = 180.0
PEOPLE = (*TEAMS[:2], TeamPlan(HARBOR, "Harbor", "pro", (DirectoryMember("mem_hana", "Hana", "admin"),)))


@dataclass
class Stage:
    """Where alerts are made to fire.

    Attributes:
        proxy: the network between the database and the API.
        sending: what is reported a few times a second; a fault may put another thing there.
        alert: which alert's chapter of the runbook is followed now.
    """

    world: LocalWorld
    prometheus: Prometheus
    proxy: Proxy
    producer: AIOKafkaProducer
    http: httpx2.AsyncClient
    witness: CosigningStandIn
    sending: Callable[[], list[Message]]
    alert: str = ""
    said: list[str] = field(default_factory=list)

    # The product.

    async def stop(self, *names: str) -> None:
        """In good order; Prometheus goes on asking for them."""
        await asyncio.gather(*(self.world.processes.stop(name) for name in names))

    async def start(self, *names: str, **env: str) -> None:
        """Again, as they were but for `env`, and wait until they are ready."""
        for name in names:
            self.world.processes.start_again(name, env)
        await asyncio.gather(*(self.ready(name) for name in names))

    async def restart(self, *names: str) -> None:
        """Stop and start."""
        await self.stop(*names)
        await self.start(*names)

    async def ready(self, name: str) -> None:
        """It can do its work."""
        await self.world.processes.wait_ready(
            name, f"{self.prometheus.targets[name]}/readyz", timeout_seconds=SOON_SECONDS
        )

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[Connection]:
        """A superuser's connection."""
        async with connected(self.world.database) as connection:
            yield connection

    async def execute(self, statement: str, *values: object) -> None:
        """As a superuser."""
        async with self.owner() as connection:
            await connection.execute(statement, *values)

    async def fetchval(self, question: str, *values: object) -> Any:
        async with self.owner() as connection:
            return await connection.fetchval(question, *values)

    async def until_true(self, question: str, *values: object, within: float = SOON_SECONDS) -> None:
        """Until the database says yes."""
        await until(lambda: self.fetchval(question, *values), within=within, what=question)

    async def stripe(self, method: str, path: str, **body: Any) -> Any:
        """Order something of the stand-in, or ask it as Stripe's own API."""
        answer = await self.http.request(
            method,
            f"{self.world.stripe}{path}",
            headers={"Authorization": f"Bearer {self.world.variables['STRIPE_KEY']}"},
            **body,
        )
        answer.raise_for_status()
        return answer.json()

    async def ask_api(
        self, method: str, path: str, *, team: str, role: TokenRole, member: str = "mem_ops", **more: Any
    ) -> httpx2.Response:
        """The API, as a person."""
        headers = {"Authorization": f"Bearer {self.world.token(team, member, role)}", "Idempotency-Key": uuid4().hex}
        return await self.http.request(method, f"{self.world.api}{path}", headers=headers, **more)

    async def report(self, *messages: Message) -> None:
        """Usage; while Kafka is away it is not sent."""
        for message in messages:
            with suppress(KafkaError):
                await self.producer.send_and_wait(
                    "usage", message.value, key=message.key, headers=list(message.headers), partition=message.partition
                )

    # The runbook.

    def chapter(self) -> str:
        """Of the alert that fires."""
        return next(text for text in CHAPTERS if text.startswith(f"{self.alert}\n"))

    def stands(self, text: str) -> str:
        """`text`, which the runbook says there."""
        assert text in " ".join(f"{EVERYWHERE} {self.chapter()}".split()), (
            f"{self.alert}: the runbook does not say {text!r}"
        )
        return text

    async def creditwell(self, command: str, *more: str, exits: int | None = 0, **words: str) -> str:
        """Run a command of the runbook as an operator, with `words` for its capitals; what it says.

        `more` are options that the runbook names apart from it.
        """
        self.stands(f"creditwell {command}")
        for option in more:
            self.stands(f"the same with `{option}`")
        for word, meant in words.items():
            command = command.replace(word, meant)
        command = " ".join([command, *more])
        names = {name for process in PROCESSES.values() for name in process.settings} | {"public_key"}
        settings = {name: text for name, text in self.world.variables.items() if name.lower() in names}
        settings |= {"DATABASE": self.world.database, "INSECURE_DEV": "1"}
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.cli", *command.split(), cwd=ROOT, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env={**os.environ, **{f"CREDITWELL_{name}": text for name, text in settings.items()}},
        )  # fmt: skip
        said = (await run.communicate())[0].decode()
        self.said.append(f"creditwell {command}: {run.returncode}")
        assert exits is None or run.returncode == exits, f"creditwell {command} ended with {run.returncode}: {said}"
        return said

    async def look(self, name: str, path: str) -> dict[str, Any]:
        """What a process says at `/healthz` or `/readyz`."""
        self.stands(path)
        said: dict[str, Any] = (await self.http.get(f"{self.prometheus.targets[name]}{path}")).json()
        return said

    def log(self, name: str) -> str:
        """What a process has said."""
        return self.world.processes[name].log.read_text("utf-8", "replace")


@asynccontextmanager
async def a_stage(stack: Stack) -> AsyncIterator[Stage]:
    """Everything runs, people ask, usage comes, a team is topped up; nothing is broken."""
    with Processes(stack, say=lambda _: None, forks=fork_server()) as processes, a_cosigning_witness() as witness:
        world = await start_world(
            stack,
            processes,
            say=lambda _: None,
            teams=PEOPLE,
            recorders=2,
            serve=[name for name in PROCESSES if name not in ("signer", "api")],
        )
        async with (
            a_proxy(world.logins["api"]) as proxy,
            a_prometheus() as prometheus,
            AIOKafkaProducer(bootstrap_servers=stack.kafka) as producer,
            httpx2.AsyncClient(trust_env=False, verify=PLAIN_HTTP, timeout=30) as http,
        ):
            await know_log(world, witness)
            await world.serve("api", env={"CREDITWELL_DATABASE": proxy.url(world.logins["api"])})
            asked = {"CREDITWELL_WITNESS_URL": witness.url, "CREDITWELL_WITNESS_KEY": witness.verifier_key}
            await world.serve("signer", env=SIGNER | asked)
            await set_stage(world)
            for name in (*RECORDERS, *(name for name in PROCESSES if name != "recorder")):
                prometheus.targets[name] = f"http://127.0.0.1:{processes[name].env['CREDITWELL_HEALTH_PORT']}"
            stage = Stage(world, prometheus, proxy, producer, http, witness, lambda: usual(world))
            async with asyncio.TaskGroup() as tasks:
                works = [tasks.create_task(work) for work in (prometheus.run(), use(stage), ask(stage))]
                yield stage
                for work in works:
                    work.cancel()


async def know_log(world: LocalWorld, witness: CosigningStandIn) -> None:
    """The witness is told of the log and its key, as its operator would be."""
    async with connected(world.database) as connection:
        origin = origin_of(await connection.fetchval(LOG))
    witness.logs[origin] = Ed25519PublicKey.from_public_bytes(b64decode(world.variables["PUBLIC_KEY"]))


def usual(world: LocalWorld) -> list[Message]:
    """A little of each team's: a second of an export, for a tenth of a credit."""
    return [used(team.id, uuid4().hex, feature="video_export.render", tier="720p") for team in world.teams]


async def use(stage: Stage) -> None:
    """Usage comes for ever."""
    while True:
        await stage.report(*stage.sending())
        await asyncio.sleep(0.2)


async def ask(stage: Stage) -> None:
    """Members look at their balance for ever."""
    while True:
        for team in stage.world.teams:
            with suppress(httpx2.HTTPError):
                await stage.ask_api(
                    "GET",
                    f"/v1/teams/{team.id}/balance",
                    team=team.id,
                    role=TokenRole.MEMBER,
                    member=team.members[0].member_id,
                )
        await asyncio.sleep(0.1)


def folder_of_anchors(stage: Stage) -> Path:
    """Where the signer's anchors are."""
    return Path(stage.world.variables["ANCHORS"])
