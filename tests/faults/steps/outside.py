"""What somebody dies over who has to do with others: with Stripe, by purchases, refunds and disputes, and with the host product."""

import asyncio
from collections.abc import Awaitable, Callable

from pydantic import SecretStr

from schemas.credits import MICRO
from schemas.facts import BalanceRanLow, ChargeDisputed, CreditsPurchased, PurchaseRequested
from services.money.inbox import InboxWorker, work_on
from services.money.inbox_rows import take_news
from services.publishing import notice_rows
from services.publishing.notices import notify
from services.runtime.health import Health
from tests.faults.steps.ground import HOST_SECRET, Ground
from tests.faults.steps.work import APPEND, Work, command, exists
from tests.support.desk import of_type, settings
from tests.support.lives import settings_of
from tests.support.serving import as_role, leases_run_out
from tests.support.waiting import until

RETURN = "https://host.example/billing"
PACK = {"pack": "standard", "return_url": RETURN}
BUY = command("admin", "purchases", PACK)
NEWS = ("inbox:asked", "inbox:done")
LOW = BalanceRanLow(
    available_credits=40 * MICRO, threshold_credits=50 * MICRO, crossed_at_position=1, top_up_enabled=False
)

DUE_NOW = "UPDATE stripe_inbox SET look_at = '-infinity' WHERE done_at IS NULL"
LEFT = "SELECT count(*) FROM stripe_inbox WHERE done_at IS NULL"
PAGE = "SELECT state, payment_intent_id, position FROM checkouts WHERE team_id = $1"
TOLD = """
    SELECT count(*) = count(n.ended_at) FROM facts f
    LEFT JOIN notices n ON n.shard = f.shard AND n.position = f.position AND n.state = 'delivered'
    WHERE f.team_id = $1 AND f.type = 'balance.ran_low.v1'
"""


async def _paid(ground: Ground, team: str) -> None:
    """Somebody has paid on the page of a pack, and Stripe has told of it."""
    await exists(ground, team)
    page = await BUY(ground, team)
    assert isinstance(page, dict)
    pressed = await ground.desk.http.post(page["checkout_url"], data={"action": "pay", "card": "pm_card_visa"})
    assert pressed.status_code < 400, pressed.text
    await _all_told(ground)


async def _all_told(ground: Ground) -> None:
    """What Stripe has to tell by now lies in the inbox."""
    (await ground.desk.http.get("/_control/webhooks/settled")).raise_for_status()


async def hear(ground: Ground, team: str) -> object:
    """Work on all that Stripe has told; how far the team's page has come by then."""
    worker = InboxWorker(ground.workers, ground.desk.charges)
    async with ground.workers.acquire() as connection:
        await ground.connection.execute(DUE_NOW)  # who died over some had taken them for a while
        while news := await take_news(connection, 100):
            for event in news:
                await work_on(worker, event)
        page = await connection.fetchrow(PAGE, team)
        return dict(page or {})


async def _bought(ground: Ground, team: str) -> CreditsPurchased:
    await _paid(ground, team)
    await hear(ground, team)
    (bought,) = await of_type(ground.connection, team, CreditsPurchased)
    assert isinstance(bought, CreditsPurchased)
    return bought


async def _refunded(ground: Ground, team: str) -> None:
    bought = await _bought(ground, team)
    made = await ground.desk.http.post(
        "/v1/refunds", data={"payment_intent": bought.payment_intent_id, "amount": "500"}
    )
    assert made.is_success, made.text
    await _all_told(ground)


async def _disputed(ground: Ground, team: str) -> None:
    """The bank wants money back of a team whose top-ups are on."""
    bought = await _bought(ground, team)
    await ground.tell(team, await ground.desk.card(team, "pm_card_visa"), settings())
    await ground.desk.order("disputes", charge=bought.charge_id)
    await _all_told(ground)


async def _won(ground: Ground, team: str) -> None:
    await _disputed(ground, team)
    await hear(ground, team)
    (disputed,) = await of_type(ground.connection, team, ChargeDisputed)
    await ground.desk.order(f"disputes/{disputed.dispute_id}/close", won=True)
    await _all_told(ground)


async def _one_page(ground: Ground, team: str) -> list[str]:
    """Stripe has one page of this purchase, and it is the one that was answered."""
    (requested,) = await of_type(ground.connection, team, PurchaseRequested)
    sessions = (await ground.desk.books())["checkout_sessions"]
    mine = [one["id"] for one in sessions if one["metadata"].get("purchase_id") == requested.purchase_id]
    row = await ground.connection.fetchval("SELECT session_id FROM checkouts WHERE team_id = $1", team)
    return [] if mine == [row] else [f"of this purchase Stripe has the pages {mine}, and the log's is {row}"]


async def _one_charge(ground: Ground, team: str) -> list[str]:
    """What was paid is what was credited, and nothing that Stripe has told is left to do."""
    bought = await of_type(ground.connection, team, CreditsPurchased)
    credited = {fact.payment_intent_id: fact.charge_cents for fact in bought}
    charges = (await ground.desk.books())["charges"]
    paid = {one["payment_intent"]: one["amount"] for one in charges if one["metadata"].get("team_id") == team}
    left = await ground.connection.fetchval(LEFT)
    return [
        *([] if paid == credited else [f"paid was {paid}, and credited {credited}"]),
        *([f"{left} of Stripe's news are not worked on"] if left else []),
    ]


async def _to_be_told(ground: Ground, team: str) -> None:
    await notice_rows.begin(ground.connection)  # who tells of nothing before today does so from now on
    await exists(ground, team)
    await ground.tell(team, LOW)


async def _tell(ground: Ground, team: str) -> object:
    """A relay of its own sends notices until the host has the team's."""
    await leases_run_out(ground.connection)  # of who died
    chosen = settings_of(
        ground.stack, as_role(ground.database, "worker"), notice_url=ground.host,
        notice_secret=SecretStr(HOST_SECRET),
    )  # fmt: skip
    stop = asyncio.Event()
    telling = asyncio.create_task(notify(chosen, stop, Health("relay")))

    async def told() -> bool:
        return telling.done() or bool(await ground.connection.fetchval(TOLD, team))

    try:
        await until(told, what="the host is told")
    finally:
        stop.set()
        await telling
    return None


async def _told_once(ground: Ground, team: str) -> list[str]:
    """However often it was sent: under one id, with one body."""
    assert ground.receiver is not None
    mine = [name for name, notice in ground.receiver.notices.items() if notice["data"]["team_id"] == team]
    bodies = [len(ground.receiver.bodies[name]) for name in mine]
    return [] if bodies == [1] else [f"the host has {len(mine)} notices of the team, in {bodies} bodies"]


def _money_back(prepare: Callable[[Ground, str], Awaitable[None]], **comes_to: int) -> Work:
    return Work((*APPEND, "reversals:told", *NEWS), prepare, hear, {"CreditsPurchased": 1, **comes_to}, _one_charge)


OUTSIDE = {
    "purchase": Work((*APPEND, "checkout:begun", "checkout:made"), exists, BUY, {"PurchaseRequested": 1}, _one_page),
    "payment": Work(
        (*NEWS, *APPEND, "checkout:credited"), _paid, hear, {"PurchaseRequested": 1, "CreditsPurchased": 1}, _one_charge
    ),
    "refund": _money_back(_refunded, ChargeRefunded=1),
    "dispute": _money_back(_disputed, ChargeDisputed=1, TopUpSuspended=1),
    "dispute that is won": _money_back(
        _won, ChargeDisputed=1, DisputeClosed=1, TopUpSuspended=1, TopUpResumed=1
    ),
    "notice": Work(("notices:kept", "notices:sent"), _to_be_told, _tell, {"BalanceRanLow": 1}, _told_once),
}  # fmt: skip
