"""A whole Creditwell on a stack: tables, logins, teams, a stand-in for Stripe, and every process.

`make up`, the demo, the end-to-end tests and the bench start it here. Each process gets the login of its own role and
no more settings than it needs, as in production; only the keys are made up, which is why all of them say
`insecure_dev`.
"""

import asyncio
import secrets
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from deploy.local.folders import free_ports
from deploy.local.processes import Processes, service_command
from deploy.local.say import Say
from deploy.local.servers.topic_ends import ends
from deploy.local.stack import Stack
from deploy.local.teams import TEAMS, TeamPlan, add_teams
from deploy.local.trouble import StackTrouble
from schemas.catalog import load_catalog
from schemas.topics import USAGE
from services.api.tokens import EVERY_TEAM, TokenRole, mint
from services.audit.checkpoints import new_key_pair
from services.credits.rate_cards import seed_catalog
from services.read_models.versions import ensure_projections
from services.runtime.processes import PROCESSES
from services.runtime.settings import Settings
from services.store.connect import Connection
from services.store.migrate import migrate
from services.usage.cursors import claim_cursors

# Tokens are minted here and the catalog is the package's, whatever our own environment says.
UNSET = dict.fromkeys(("JWKS", "JWT_ISSUER", "JWT_AUDIENCE", "CATALOG"), "")
LOGINS = (*dict.fromkeys(process.role for process in PROCESSES.values()), "reader")
SOURCES = ("/features/*",)  # what a service's token may report as


@dataclass(frozen=True)
class LocalWorld:
    """Where everything is; what it takes to use it."""

    stack: Stack
    processes: Processes
    database: str  # the owner's
    logins: Mapping[str, str]  # by role
    variables: Mapping[str, str]  # what settings have in common, without their prefix
    teams: tuple[TeamPlan, ...] = ()
    api: str = ""
    stripe: str = ""
    host: str = ""  # where a host product's site may be; the API lets its pages in
    receiver: str = ""  # of notices

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        return self.stack.kafka

    def environment(self, process: str) -> dict[str, str]:
        """What a process must know, and nothing else."""
        settings = {
            "INSECURE_DEV": "1",
            "LOG_FORMAT": "json",
            "DATABASE": self.logins[PROCESSES[process].role],
            **UNSET,
        }
        settings |= {name: text for name, text in self.variables.items() if name.lower() in PROCESSES[process].settings}
        return {f"CREDITWELL_{name}": text for name, text in settings.items()}

    async def serve(self, *names: str, env: Mapping[str, str] | None = None) -> None:
        """Start processes and wait until all are ready. `recorder-2` is a second recorder."""
        ports = free_ports(len(names))
        for name, port in zip(names, ports, strict=True):
            process = name.partition("-")[0]
            health = {"CREDITWELL_HEALTH_PORT": str(port)}
            self.processes.start(name, service_command(process), self.environment(process) | health | dict(env or {}))
        await asyncio.gather(
            *(
                self.processes.wait_ready(name, f"http://127.0.0.1:{port}/readyz")
                for name, port in zip(names, ports, strict=True)
            )
        )

    def token(self, team_id: str, member_id: str, role: TokenRole) -> str:
        """A token of development; finance and operators see every team."""
        return mint(
            Settings(insecure_dev=True, jwks=None),
            team=EVERY_TEAM if role in (TokenRole.FINANCE, TokenRole.OPERATOR) else team_id,
            member=member_id,
            role=role,
            sources=SOURCES if role is TokenRole.SERVICE else (),
        )

    def as_document(self) -> dict[str, object]:
        """What other programs should know, as JSON."""
        return {
            "api": self.api,
            "kafka": self.kafka,
            "database": self.database,
            "database_app": self.logins["recorder"],
            "database_reader": self.logins["reader"],
            "stripe": self.stripe,
            "stripe_key": self.variables["STRIPE_KEY"],
            "stripe_webhook_secret": self.variables["STRIPE_WEBHOOK_SECRET"],
            "notices": f"{self.receiver}/_control/notices",
            "public_key": self.variables["PUBLIC_KEY"],
            "teams": [
                {
                    "id": team.id,
                    "name": team.name,
                    "plan": team.plan,
                    "members": [{"id": one.member_id, "name": one.name, "role": one.role} for one in team.members],
                    "tokens": {role.value: self.token(team.id, _bearer(team, role), role) for role in TokenRole},
                }
                for team in self.teams
            ],
        }


def _bearer(team: TeamPlan, role: TokenRole) -> str:
    """Whose token it is: a person of the team, or a desk of ours."""
    if role in (TokenRole.MEMBER, TokenRole.ADMIN):
        return next(one.member_id for one in team.members if one.role == role.value)
    return f"{role.value}_desk"


@contextmanager
def run_world(stack: Stack, processes: Processes, *, say: Say) -> Iterator[Mapping[str, object]]:
    """For `make up`: everything runs, with an empty log, while the block does; `processes` ends it."""
    world = asyncio.run(start_world(stack, processes, say=say))
    yield world.as_document()


async def start_world(
    stack: Stack,
    processes: Processes,
    *,
    say: Say,
    teams: Sequence[TeamPlan] = TEAMS,
    recorders: int = 1,
    projectors: int = 1,
    serve: Sequence[str] = tuple(PROCESSES),
) -> LocalWorld:
    """Tables, teams, the stand-in for Stripe and every process, ready when this returns; `processes` ends them.

    Raises:
        StackTrouble: a process does not start; the message has its last lines.
    """
    world = await prepare_world(stack, processes)
    async with connected(world.database) as owner:
        await add_teams(owner, teams)
    world = replace(world, teams=tuple(teams))
    say(f"Creditwell: starting {', '.join(serve)}")
    count = {"recorder": recorders, "projector": projectors}
    names = [name if n == 1 else f"{name}-{n}" for name in serve for n in range(1, count.get(name, 1) + 1)]
    world = replace(world, variables={**world.variables, **notice_settings(world)})
    await asyncio.gather(start_stripe(world), start_receiver(world), world.serve(*names))
    check_alive(processes)
    say(f"Creditwell: ready at {world.api}")
    return world


def check_alive(processes: Processes) -> None:
    """Raises StackTrouble, with its last lines, when a process has died that nobody had asked to."""
    if processes.died:
        died = processes.died[0]
        raise StackTrouble(died.name, f"died with code {died.code}", way_out=died.last_lines)


async def prepare_world(stack: Stack, processes: Processes) -> LocalWorld:
    """Tables and logins, with nothing running yet and no teams."""
    passwords = None if stack.source == "environment" else {role: secrets.token_urlsafe(18) for role in LOGINS}
    catalog = load_catalog()
    async with connected(stack.database) as owner:
        await migrate(owner)
        async with owner.transaction():
            await seed_catalog(owner, catalog)
        await ensure_projections(owner, catalog.usage.count_by)
        if passwords is None:
            await begin_at_the_end(owner, stack.kafka)
        else:
            await give_passwords(owner, passwords)
    signing_key, public_key = new_key_pair()
    anchors = stack.folder / "anchors"
    anchors.mkdir(exist_ok=True)
    world = LocalWorld(
        stack,
        processes,
        database=stack.database,
        logins={role: login(stack.database, role, passwords) for role in LOGINS},
        variables={
            "KAFKA": stack.kafka,
            "STRIPE_KEY": f"sk_test_{secrets.token_hex(16)}",
            "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_hex(16)}",
            "SIGNING_KEY": signing_key,
            "PUBLIC_KEY": public_key,
            "ANCHORS": str(anchors),
            "SIGN_EVERY_SECONDS": "5",  # whoever tries it out need not wait for half a minute
        },
    )
    return at_free_ports(world)


def at_free_ports(world: LocalWorld) -> LocalWorld:
    """With addresses for the API, the stand-in for Stripe and a host product.

    Call it shortly before they are started.
    """
    api, stripe, host, receiver = (f"http://127.0.0.1:{port}" for port in free_ports(4))
    addresses = {"API_PORT": api.rpartition(":")[2], "CORS_ORIGINS": f"{api},{host}", "STRIPE_API": stripe}
    return replace(
        world, api=api, stripe=stripe, host=host, receiver=receiver, variables={**world.variables, **addresses}
    )


async def begin_at_the_end(owner: Connection, kafka: str) -> None:
    """What somebody else's topic held before is not for a new log to record."""
    await claim_cursors(owner, USAGE, "nobody", await ends(kafka, USAGE))


async def give_passwords(owner: Connection, passwords: Mapping[str, str]) -> None:
    """Let the roles of the migrations log in. They belong to the whole cluster, so only to one that is ours."""
    for role, password in passwords.items():
        await owner.execute(f"ALTER ROLE creditwell_{role} LOGIN PASSWORD '{password}'")


def login(database: str, role: str, passwords: Mapping[str, str] | None) -> str:
    """The URL of a role: with its own password or, in somebody else's cluster, as the owner who then becomes it."""
    if passwords is None:
        return f"{database}{'&' if '?' in database else '?'}role=creditwell_{role}"
    url = urlsplit(database)
    address = url.netloc.rpartition("@")[2]
    return urlunsplit(url._replace(netloc=f"creditwell_{role}:{passwords[role]}@{address}"))


async def start_stripe(world: LocalWorld) -> None:
    """The stand-in, which tells our webhook what happened."""
    world.processes.start(
        "stripe",
        [
            sys.executable, "-m", "deploy.local.stripe",
            "--port", world.stripe.rpartition(":")[2],
            "--key", world.variables["STRIPE_KEY"],
            "--webhook-url", f"{world.api}/v1/stripe/webhook",
            "--webhook-secret", world.variables["STRIPE_WEBHOOK_SECRET"],
        ],
    )  # fmt: skip
    await world.processes.wait_ready("stripe", f"{world.stripe}/healthz")


def notice_settings(world: LocalWorld) -> dict[str, str]:
    """Where the relay sends notices, once somebody takes them there."""
    return {
        "NOTICE_URL": f"{world.receiver}/notices", "USAGE_PAGE": f"{world.api}/usage",
        "NOTICE_SECRET": f"whsec_{b64encode(secrets.token_bytes(32)).decode()}",
    }  # fmt: skip


async def start_receiver(world: LocalWorld) -> None:
    """The host product's end of notices: verifies and counts them."""
    world.processes.start(
        "receiver",
        [
            sys.executable, "-m", "deploy.local.receiver",
            "--port", world.receiver.rpartition(":")[2], "--secret", world.variables["NOTICE_SECRET"],
        ],
    )  # fmt: skip
    await world.processes.wait_ready("receiver", f"{world.receiver}/readyz")


@asynccontextmanager
async def connected(database: str) -> AsyncIterator[Connection]:
    """One connection that speaks UTC, as all of ours do."""
    connection = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
    try:
        yield connection
    finally:
        await connection.close()
