"""The money matrix: a worker dies at a named step of a top-up, Stripe fails, days go by, and the stand-in's own books are asked.

Each seed is one cell of steps x workers x time away x Stripe's fault x does the store go back; what the bank says, which
request is spoiled and what the team does meanwhile is drawn from the seed too. As many seeds in a row as there are cells play
each of them once.

How a store goes back. There are two of them with the same log, name and keys, and the team is in both. One lives until the
death; from then on the other one works, which has heard nothing of it: the same usage is recorded again, in one piece or two.

How a death is played. In most runs the worker is a task of this process, and dies of an exception that nothing catches: its
transaction is rolled back and its lease stays, as after `kill -9`; what the kernel does beyond (sockets reset, memory gone) is
not shown. Every so many-th run the worker is a process of its own and dies of SIGKILL.

How time is played. The stand-in's clock jumps, so that it forgets idempotency keys after 24 hours and gives new intents later
dates. PostgreSQL's clock can't jump: instead the leases, the next look and the moment when the owner was asked are moved into
the past by as much. `recorded_at` of facts stays true, so cool-downs and months are the simulator's business.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import product
from random import Random
from typing import Any, NoReturn

from deploy.local.stack import Stack
from projections.top_ups.state import TopUps
from schemas.credits import MICRO
from schemas.facts import AnyFact, CreditsPurchased, PaymentMethodChanged
from services.money.top_ups.charging import confirm_by_owner
from services.money.top_ups.log import read_top_ups
from services.money.topup import Worker
from services.read_models.low_balance import judge
from services.runtime.crashpoints import arm, disarm
from services.runtime.errors import Refused
from services.store.connect import RETRYABLE, Connection, Pool, connect_pool
from tests.faults.books import against_the_books, unexpected
from tests.faults.rush import a_worker
from tests.support.desk import Desk, a_desk, environment, facts, folded_anew, settings, working
from tests.support.facts import zone_at_midday
from tests.support.serving import as_role, connected, plan, serving, store, used

ANYWHERE = "anywhere"
STEPS = (
    ANYWHERE, "topup:decided", "topup:requested", "topup:leased", "topup:sending", "topup:created", "topup:recorded",
    "topup:confirmed", "topup:cancelled", "topup:asked", "topup:crediting", "topup:credited", "topup:failed",
    "topup:looked", "topup:gave_way", "topup:adopting",
)  # fmt: skip
OF_LOST_PAYMENTS = ("topup:looked", "topup:gave_way", "topup:adopting")  # which only a store that went back comes to
WORKERS = (1, 3)
AWAY = (timedelta(0), timedelta(hours=23), timedelta(hours=25), timedelta(days=8))
FAULTS = ("none", "timeout", "reset", "cached 500", "409", "429")
GOES_BACK = (False, True)
CELLS = tuple(product(STEPS, WORKERS, AWAY, FAULTS, GOES_BACK))

HOW = {
    "timeout": ("silence_after", "silence_before"), "reset": ("reset_after", "reset_before"),
    "cached 500": ("error_after", "error_before"), "409": ("conflict",), "429": ("busy",),
}  # fmt: skip
ROUTES = (
    "POST /v1/payment_intents", "POST /v1/payment_intents/{id}/confirm", "POST /v1/payment_intents/{id}/confirm",
    "GET /v1/payment_intents/{id}", "GET /v1/payment_intents", "POST /v1/payment_intents/{id}/cancel", "*",
)  # fmt: skip
BANK = {"yes": 8, "generic_decline": 2, "lost_card": 1, "authentication_required": 2, "processing": 2}
CARDS = {"generic_decline": "pm_card_chargeCustomerFail", "authentication_required": "pm_card_authenticationRequired"}
STEP_NEEDS = {
    "topup:cancelled": ("generic_decline", "lost_card"), "topup:failed": ("generic_decline", "lost_card"),
    "topup:asked": ("authentication_required",), "topup:crediting": ("yes", "processing"),
    "topup:credited": ("yes", "processing"), **dict.fromkeys(OF_LOST_PAYMENTS, ("yes",)),
}  # fmt: skip
AGAIN = ((300,), (150, 150))  # how the usage comes again to a store that went back
MEANWHILE = {"nothing": 14, "somebody pays": 1, "switched off": 1, "another card": 1}
TIMEOUT_SECONDS = 0.25
ROUNDS_MAX = 60
KILLED_EVERY = 100  # runs of a real process
RUNS_PER_DESK = 26  # whose books are read through after each run

TIME_GOES_BY = """
    UPDATE top_up_attempts SET leased_until = '-infinity', look_at = '-infinity', asked_at = asked_at - $2::interval
    WHERE team_id = $1 AND ended_at IS NULL
"""


class Killed(BaseException):
    """The end of a worker; no code of ours catches it."""


@dataclass(frozen=True)
class Run:
    """One run as its seed draws it."""

    seed: int
    step: str
    workers: int
    away: timedelta
    fault: str
    passing: int
    bank: str
    route: str
    how: str
    times: int
    meanwhile: str
    again: tuple[int, ...] = ()

    @property
    def goes_back(self) -> bool:
        """Another store goes on, in which the usage is recorded once more."""
        return bool(self.again)

    def __str__(self) -> str:
        spoiled = f", {self.how} x{self.times} at {self.route}" if self.fault != "none" else ""
        return (
            f"seed {self.seed}: dies at {self.step}:{self.passing}, {self.workers} workers, back after {self.away}, "
            f"the bank says {self.bank}{spoiled}, meanwhile {self.meanwhile}, recorded again {self.again or 'never'}"
        )


def run_of(seed: int) -> Run:
    """The run of a seed, always the same."""
    random, (step, workers, away, fault, goes_back) = Random(seed), CELLS[seed % len(CELLS)]
    banks = {bank: weight for bank, weight in BANK.items() if bank in STEP_NEEDS.get(step, tuple(BANK))}
    run = Run(
        seed, step, workers, away, fault, passing=random.choice((1, 1, 2)),
        bank=random.choices(list(banks), list(banks.values()))[0], route=random.choice(ROUTES),
        how=random.choice(HOW.get(fault, ("none",))), times=random.choice((1, 1, 2, 3)),
        meanwhile=random.choices(list(MEANWHILE), list(MEANWHILE.values()))[0],
    )  # fmt: skip
    if step in OF_LOST_PAYMENTS:
        return replace(run, again=AGAIN[-1], meanwhile="nothing")
    # Who is not low any more looks for nothing: what was lost is then found by reconciliation.
    return replace(run, again=random.choice(AGAIN), meanwhile="nothing") if goes_back else run


def must_kill(run: Run) -> bool:
    """Whether this run comes to its step whatever the timing: nothing else goes wrong, and the first who comes there dies.

    A payment that is undecided when the store goes back is answered as one that was found, which has steps of its own.
    """
    if run.goes_back and run.bank == "processing" and run.step in ("topup:crediting", "topup:credited"):
        return False
    return run.fault == "none" and run.meanwhile == "nothing" and run.passing == 1 and run.step != ANYWHERE


@dataclass
class Ground:
    """Where runs take place: a database of all of them, and a stand-in whose books begin anew now and then.

    `earlier` is the store as it was before, for runs in which it goes back.
    """

    stack: Stack
    database: str
    pool: Pool
    desk: Desk
    connection: Connection
    earlier: "Ground | None" = None
    looks: int = 0
    deaths: Counter[str] = field(default_factory=Counter)  # by step, since somebody last took them away
    spare: PaymentMethodChanged | None = None  # a card that the team may change to

    def worker(self) -> Worker:
        """A worker as a process of its own would have it."""
        self.looks += 1
        return a_worker(self.pool, self.desk)


@asynccontextmanager
async def ground(stack: Stack, database: str, earlier: str, *, seed: int) -> AsyncIterator[Ground]:
    """A stand-in with empty books before two databases that others may have used: the store, and as it was before."""
    async with (
        a_desk(seed=seed, timeout_seconds=TIMEOUT_SECONDS, per_second=10_000) as desk,
        AsyncExitStack() as stores,
    ):
        before, now = [await stores.enter_async_context(_store(stack, url, desk)) for url in (earlier, database)]
        now.earlier, before.deaths = before, now.deaths
        yield now


@asynccontextmanager
async def _store(stack: Stack, database: str, desk: Desk) -> AsyncIterator[Ground]:
    pool = await connect_pool(as_role(database, "worker"), process="topup", size=6)
    async with pool, connected(database) as connection:
        yield Ground(stack, database, pool, desk, connection)


async def play(scene: Ground, run: Run, *, killed: bool = False) -> list[str]:
    """One run; what was wrong in the end. `killed`: the worker that dies is a process."""
    team, died_before = await _team(scene, run), scene.deaths.total()
    disarm()
    if run.fault != "none":
        await scene.desk.order("faults", route=run.route, do=run.how, times=run.times, seconds=0)
    if killed:
        await _die_as_a_process(scene, run, team)
    else:
        await store(scene.connection, team, [used(300)])
        await judge(scene.connection, team)
        await _die(scene, run, team)
    if run.goes_back:
        scene = await _go_back(scene, run, team)
    await scene.desk.order("clock", advance_seconds=int(run.away.total_seconds()))
    await scene.connection.execute(TIME_GOES_BY, team, run.away)
    await _meanwhile(scene, run, team)
    unsettled = await _until_quiet(scene, run, team)
    disarm()  # until now whoever comes to the step for the first time dies there, in the recovery too
    await scene.desk.http.delete("/_control/faults")
    told = await facts(scene.connection, team)
    wrong = against_the_books(await scene.desk.books(), team, told, goes_back=run.goes_back)
    if await read_top_ups(scene.connection, team) != folded_anew(team, told):
        wrong.append("the saved fold is not the log's")
    if must_kill(run) and scene.deaths.total() == died_before:
        wrong.append(f"nobody died at {run.step}, which this run must come to")
    interrupted = run.meanwhile != "nothing"
    return [*unsettled, *wrong, *unexpected(run.bank, told, interrupted=interrupted, goes_back=run.goes_back)]


async def _team(scene: Ground, run: Run) -> str:
    team = f"team_{run.seed}_{scene.looks}"
    card = await scene.desk.card(team, CARDS.get(run.bank, "pm_card_visa"))
    scene.spare = await scene.desk.card(team, "pm_card_mastercard")
    begin: list[AnyFact] = [plan(1_200, zone=zone_at_midday()), card, settings(monthly_cap_cents=2_000)]
    await store(scene.connection, team, begin)
    if run.goes_back and scene.earlier is not None:
        await store(scene.earlier.connection, team, begin)
    if run.bank in ("lost_card", "processing"):
        method = card.payment_method_id
        await scene.desk.order(
            "outcomes", outcome=run.bank, payment_method=method, times=1 if run.bank == "processing" else 99
        )
    return team


async def _go_back(scene: Ground, run: Run, team: str) -> Ground:
    """The store as it was before anything was used; the usage is recorded again, and the crossing may fall elsewhere."""
    assert scene.earlier is not None
    for credits in run.again:
        await store(scene.earlier.connection, team, [used(credits)])
    await judge(scene.earlier.connection, team)
    return scene.earlier


async def _die(scene: Ground, run: Run, team: str) -> None:
    """All workers look at the team at once; one of them dies."""

    def die() -> NoReturn:
        raise Killed

    if run.step != ANYWHERE:
        arm(run.step, run.passing, die)
    looks = [asyncio.create_task(scene.worker().look_at(team)) for _ in range(run.workers)]
    if run.step == ANYWHERE:
        await asyncio.wait(looks[:1], timeout=Random(run.seed).random() * 0.05)
        looks[0].cancel()
    await _ended(scene, run, looks)


async def _die_as_a_process(scene: Ground, run: Run, team: str) -> None:
    """The same with SIGKILL, found by the sweep of a process of its own: nothing is called, the world is as in production."""
    step = "topup:recorded" if run.step == ANYWHERE else run.step
    told = environment(scene.stack, scene.database, scene.desk) | {"CREDITWELL_LOG_LEVEL": "error"}
    async with (
        working(scene.stack, scene.database, scene.desk, "projector"),
        serving("topup", told, crash_at=f"{step}:1") as process,
    ):
        await store(scene.connection, team, [used(300)])
        dying = asyncio.create_task(process.ended())
        await asyncio.wait({dying}, timeout=8)  # a step that this run never comes to kills nobody
        if dying.done():
            assert (code := dying.result()) == -signal.SIGKILL, f"the worker was to be killed, but ended with {code}"
            scene.deaths[step] += 1
        dying.cancel()


async def _ended(scene: Ground, run: Run, looks: list[asyncio.Task[None]]) -> None:
    for outcome in await asyncio.gather(*looks, return_exceptions=True):
        scene.deaths[run.step] += isinstance(outcome, (Killed, asyncio.CancelledError))
        if isinstance(outcome, BaseException) and not isinstance(outcome, (Killed, asyncio.CancelledError, *RETRYABLE)):
            raise outcome


async def _meanwhile(scene: Ground, run: Run, team: str) -> None:
    """What else happens while nobody works."""
    match run.meanwhile:
        case "somebody pays":
            paid = CreditsPurchased(
                credits=2_000 * MICRO,
                pack="mini",
                payment_intent_id=f"pi_hand_{team}",
                charge_cents=2_000,
                currency="usd",
            )
            await store(scene.connection, team, [paid])
        case "switched off":
            await store(scene.connection, team, [settings(enabled=False)])
        case "another card":
            assert scene.spare is not None
            await store(scene.connection, team, [scene.spare])


async def _until_quiet(scene: Ground, run: Run, team: str) -> list[str]:
    """Look again and again, as sweeps would, until nothing is left to do; the owner of the card confirms what the bank asks."""
    workers = [scene.worker() for _ in range(run.workers)]
    for turn in range(ROUNDS_MAX):
        await scene.connection.execute(TIME_GOES_BY, team, timedelta(0))
        await judge(scene.connection, team)
        await _ended(scene, run, [asyncio.create_task(worker.look_at(team)) for worker in workers])
        state = await read_top_ups(scene.connection, team)
        if state.open is None and state.point is None:
            return []
        if state.open is None and state.point is not None and await _enough(scene, team):
            return []
        if turn > 3:
            await _others_do_their_part(scene, run, team, state)
    return [f"it never came to rest: {state!r:.600}"]


async def _enough(scene: Ground, team: str) -> bool:
    """A decision waits for a balance that is low again."""
    enough_at = "SELECT enough_at FROM top_ups WHERE team_id = $1"
    return bool(await scene.connection.fetchval(enough_at, team))


async def _others_do_their_part(scene: Ground, run: Run, team: str, state: TopUps) -> None:
    """The bank settles what it was at; the owner confirms, or lets it be for days."""
    intents = await _intents(scene, team)
    outcome = Random(run.seed).choice(("succeeded", "generic_decline"))
    for name in (name for name, intent in intents.items() if intent["status"] == "processing"):
        await scene.desk.order(f"payment_intents/{name}/settle", outcome=outcome)
        return
    if state.open is None or state.open.payment_intent_id is None:
        return
    if state.open.action_required and run.seed % 2:
        await _ended(scene, run, [asyncio.create_task(_confirm(scene, team)) for _ in range(2)])
    elif state.open.action_required:
        await scene.connection.execute(TIME_GOES_BY, team, timedelta(days=2))


async def _confirm(scene: Ground, team: str) -> None:
    """The owner clicks, and says yes on the bank's page."""
    try:
        intent = await confirm_by_owner(scene.desk.charges, scene.pool.acquire, team, "https://example.com/usage")
    except Refused:
        return  # it is over meanwhile
    if intent.action_url is not None:
        await scene.desk.http.post(intent.action_url, data={"answer": "yes"})


async def _intents(scene: Ground, team: str) -> dict[str, Any]:
    books = await scene.desk.books()
    return {found["id"]: found for found in books["payment_intents"] if found["metadata"].get("team_id") == team}
