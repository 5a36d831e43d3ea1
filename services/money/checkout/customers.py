"""What Stripe calls each team, and the card that its top-ups are charged to: the way from Stripe's news to a team.

The log says which card is in use, and whose; a row here is written with the fact that says so, under the lock of the
team's shard, and only shortens the way. Where the log names a customer, that one counts, whatever the row says.
"""

from dataclasses import dataclass
from datetime import datetime

from schemas.facts import PaymentMethodChanged, Stored
from services.store.connect import Connection
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of

READ = "SELECT customer_id, payment_method_id, card_created_at FROM stripe_customers WHERE shard = $1 AND team_id = $2"

KEEP = """
    INSERT INTO stripe_customers (shard, team_id, customer_id) VALUES ($1, $2, $3)
    ON CONFLICT (shard, team_id) DO UPDATE SET customer_id = stripe_customers.customer_id
    RETURNING customer_id
"""

REPLACE = """
    UPDATE stripe_customers SET customer_id = $4, payment_method_id = NULL, card_created_at = NULL
    WHERE shard = $1 AND team_id = $2 AND customer_id = $3
"""

USE_CARD = """
    UPDATE stripe_customers SET payment_method_id = $4, card_created_at = $5
    WHERE shard = $1 AND team_id = $2 AND customer_id = $3
"""

LAST_CHANGE = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND team_id = $2 AND type = 'payment_method.changed.v1'
      AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
    ORDER BY position DESC LIMIT 1
"""

OWNER = "SELECT team_id FROM stripe_customers WHERE customer_id = $1"
CARD_OWNER = "SELECT team_id FROM stripe_customers WHERE payment_method_id = $1"


CardChange = tuple[Stored, PaymentMethodChanged]


@dataclass(frozen=True, slots=True)
class Customer:
    """A team at Stripe; with the card that we made its default there, and when that was saved."""

    customer_id: str
    payment_method_id: str | None = None
    card_created_at: datetime | None = None
    by_log: bool = False


async def read_customer(connection: Connection, team_id: str) -> Customer | None:
    """A team's customer, if Stripe knows the team: the one whose card the log names, before what the row says."""
    row = await connection.fetchrow(READ, shard_of(team_id), team_id)
    change = await last_card_change(connection, team_id)
    named = None if change is None or change[1].payment_method_id is None else change[1].customer_id
    if row is not None and named in (None, row["customer_id"]):
        return Customer(**dict(row), by_log=named is not None)
    return None if named is None else Customer(named, by_log=True)


async def keep_customer(connection: Connection, team_id: str, customer_id: str) -> str:
    """Remember a team's customer; the one that was remembered first counts."""
    kept: str = await connection.fetchval(KEEP, shard_of(team_id), team_id, customer_id)
    return kept


async def replace_customer(connection: Connection, team_id: str, gone_id: str, customer_id: str) -> None:
    """Another customer for one that was deleted at Stripe."""
    await connection.execute(REPLACE, shard_of(team_id), team_id, gone_id, customer_id)


async def use_card(
    connection: Connection, team_id: str, customer_id: str, payment_method_id: str | None, created_at: datetime | None
) -> None:
    """This is the card now; None: there is none."""
    await connection.execute(USE_CARD, shard_of(team_id), team_id, customer_id, payment_method_id, created_at)


async def last_card_change(connection: Connection, team_id: str) -> CardChange | None:
    """What the log says about a team's card."""
    row = await connection.fetchrow(LAST_CHANGE, shard_of(team_id), team_id)
    if row is None:
        return None
    stored = stored_of(row)
    fact = stored.fact()
    assert isinstance(fact, PaymentMethodChanged)
    return stored, fact


async def team_of(connection: Connection, customer_id: str | None, payment_method_id: str | None) -> str | None:
    """Whose customer or card it is, for processes that see all teams; None if it is nobody's."""
    team_id: str | None = None
    if customer_id is not None:
        team_id = await connection.fetchval(OWNER, customer_id)
    if team_id is None and payment_method_id is not None:
        team_id = await connection.fetchval(CARD_OWNER, payment_method_id)
    return team_id
