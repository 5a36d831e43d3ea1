"""The API for tests: the real process on a real port, with the privileges that it has in production, and clients for each role."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2

from deploy.local.folders import free_ports
from deploy.local.processes import PLAIN_HTTP
from deploy.local.stack import Stack
from schemas.catalog import load_catalog
from schemas.facts import AnyFact, NewFact
from services.api.serving import serve
from services.api.tokens import TokenRole, mint
from services.credits.directory import DirectoryMember, name_team, put_member
from services.credits.plans import assign_plan
from services.credits.rate_cards import seed_catalog
from services.runtime.clock import system_clock
from services.runtime.health import Health
from services.runtime.settings import Settings
from services.runtime.settings_loading import load_settings
from services.store.append import Appended, append
from services.store.connect import Connection
from tests.support.facts import zone_at_midday
from tests.support.waiting import PATIENCE_SECONDS

SOURCES = ("/features/*",)
NO_LIMITS = {
    "api_person_requests_per_minute": 0, "api_service_requests_per_second": 0, "api_failed_sign_ins_per_minute": 0,
    "api_forged_webhooks_per_minute": 0,
    "api_streams_per_caller": 0,
}  # fmt: skip


@dataclass
class ApiClock:
    """The API's clock: the system's, but for how far a test has moved it ahead."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return system_clock() + self.ahead

    @contextmanager
    def later(self, by: timedelta) -> Iterator[None]:
        """While the block runs it is so much later."""
        self.ahead += by
        try:
            yield
        finally:
            self.ahead -= by


@dataclass
class Api:
    """A running API, and one team of its own for each test. `member`, `admin` and so on are clients of that team."""

    settings: Settings
    url: str
    connection: Connection  # a superuser's
    serving: asyncio.Task[None]
    stop: asyncio.Event
    health: Health
    clock: ApiClock
    team_id: str = ""
    zone: str = "UTC"
    teams: int = 0
    told: int = 0
    clients: dict[str, httpx2.AsyncClient] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where the team is."""
        return f"/v1/teams/{self.team_id}"

    def client(self, role: str, team: str | None = None, **token: Any) -> httpx2.AsyncClient:
        """A client with a token of this role, by default for the test's own team."""
        sources = SOURCES if role == "service" else ()
        about = {"team": team or self.team_id, "member": "mem_1", "role": TokenRole(role), "sources": sources} | token
        known = repr(about)
        if known not in self.clients:
            self.clients[known] = self._client(mint(self.settings, **about))
        return self.clients[known]

    def _client(self, token: str) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(
            base_url=self.url, headers=headers, trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS
        )

    @property
    def member(self) -> httpx2.AsyncClient:
        """Somebody in the team."""
        return self.client("member")

    @property
    def admin(self) -> httpx2.AsyncClient:
        """Somebody in the team who may spend."""
        return self.client("admin")

    @property
    def service(self) -> httpx2.AsyncClient:
        """A feature service."""
        return self.client("service")

    @property
    def operator(self) -> httpx2.AsyncClient:
        """Whoever runs Creditwell."""
        return self.client("operator", "*")

    async def begin(self) -> None:
        """Another test: a team that nobody has heard of, on plan Pro, where it is midday, with a member and an admin."""
        self.teams += 1
        self.team_id, self.zone = f"team_{self.teams}", zone_at_midday()
        await self.team(
            zone=self.zone,
            members=(DirectoryMember("mem_1", "Ada", "member"), DirectoryMember("mem_2", "Grace", "admin")),
        )

    async def tell(self, *facts: AnyFact, team: str | None = None, at: datetime | None = None) -> Appended:
        """Append facts, each in its place."""
        new = []
        for fact in facts:
            self.told += 1
            new.append(
                NewFact(team or self.team_id, "/features/test", f"fact_{self.told}", at or datetime.now(UTC), fact)
            )
        async with self.connection.transaction():
            return await append(self.connection, new)

    async def team(
        self, team: str | None = None, plan: str = "pro", members: Iterable[DirectoryMember] = (), **about: Any
    ) -> None:
        """A team exists from now on."""
        team = team or self.team_id
        async with self.connection.transaction():
            await assign_plan(self.connection, load_catalog(), team, plan, **about)
            await name_team(self.connection, team, f"Team {team}")
            for member in members:
                await put_member(self.connection, team, member)


@asynccontextmanager
async def an_api(stack: Stack, database: str, **settings: Any) -> AsyncIterator[Api]:
    """An API on a database with the catalog's rate card and no team."""
    connection: Connection = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
    async with connection.transaction():
        await seed_catalog(connection, load_catalog())
    port = free_port()
    chosen = {
        "kafka": stack.kafka, "database": f"{database}?role=creditwell_api", "insecure_dev": True, "api_port": port,
    }  # fmt: skip
    loaded = load_settings(**(chosen | settings))
    stop, started = asyncio.Event(), asyncio.Event()
    health, clock = Health("api"), ApiClock()
    serving = asyncio.create_task(serve(loaded, stop, health, clock, started=started))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_SECONDS)
    if serving.done():
        waiting.cancel()
        serving.result()
    api = Api(loaded, f"http://127.0.0.1:{port}", connection, serving, stop, health, clock)
    try:
        yield api
    finally:
        for client in api.clients.values():
            await client.aclose()
        stop.set()
        await serving
        await connection.close()


def free_port() -> int:
    """A port that nobody listens on, and that nobody else takes."""
    (port,) = free_ports(1)
    return port


def key(name: str = "attempt") -> dict[str, str]:
    """The header that names an attempt."""
    return {"idempotency-key": name}


@dataclass(frozen=True)
class Event:
    """An event of the stream."""

    type: str
    id: str | None
    data: Any


async def events(response: httpx2.Response) -> AsyncIterator[Event]:
    """What a stream says, as it says it."""
    said: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            said[name] = value
        elif "event" in said:
            yield Event(said["event"], said.get("id"), json.loads(said["data"]))
            said = {}


def in_a_while(**time: int) -> str:
    """An instant ahead, as JSON has it."""
    return (datetime.now(UTC) + timedelta(**time)).isoformat()
