"""Before the curtain: the studio gets its welcome gift, and two teams cards and top-ups. All through the front door, save the cards."""

from dataclasses import dataclass

import httpx

from deploy.local.demo.cast import NORTHLIGHT, PAPERCUT
from deploy.local.trouble import StackTrouble
from deploy.local.world import World, connected
from schemas.facts import NewFact, PaymentMethodChanged
from services.clock import system_clock
from services.store.append import append
from services.tokens import Role

WELCOME = {"credits": "6000", "reason": "welcome to Creditwell"}
FIXED = {
    "enabled": True,
    "threshold": "2500",
    "credits": "2000",
    "monthly_cap": {"amount": 100_000, "currency": "usd"},
    "cool_down_seconds": 60,
}
FILL_UP = {
    "enabled": True,
    "threshold": "5000",
    "restore_to": "20000",
    "monthly_cap": {"amount": 500_000, "currency": "usd"},
    "cool_down_seconds": 60,
}
TOP_UPS = ((PAPERCUT, "mem_dana", FIXED), (NORTHLIGHT, "mem_ada", FILL_UP))
CARD = "pm_card_visa"


@dataclass(frozen=True)
class Front:
    """The API, as an operator and as admins use it."""

    world: World
    client: httpx.AsyncClient

    async def send(self, method: str, path: str, body: object, *, team: str, member: str, role: Role) -> None:
        """Raises StackTrouble with what the API said."""
        answer = await self.client.request(
            method, f"{self.world.api}/v1/teams/{team}{path}", json=body,
            headers={"Authorization": f"Bearer {self.world.token(team, member, role)}", "Idempotency-Key": f"demo{path}"},
        )  # fmt: skip
        if answer.is_error:
            raise StackTrouble("Demo", f"{method} {path} of {team}: {answer.status_code} {answer.text}")


async def set_stage(world: World) -> None:
    """Returns when everything is in the log."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        front = Front(world, client)
        await front.send("POST", "/grants", WELCOME, team=NORTHLIGHT, member="operator_desk", role=Role.OPERATOR)
        for team, member, settings in TOP_UPS:
            await save_card(world, client, team, member)
            await front.send("PUT", "/top-up", settings, team=team, member=member, role=Role.ADMIN)


async def save_card(world: World, client: httpx.AsyncClient, team: str, member: str) -> None:
    """A card at the stand-in for Stripe, and the fact that says so: what a person does on the page of a Checkout."""
    key = (world.variables["STRIPE_KEY"], "")

    async def ask(path: str, **form: str) -> dict[str, str]:
        answer = await client.post(f"{world.stripe}/v1/{path}", data=form, auth=key)
        said: dict[str, str] = answer.raise_for_status().json()
        return said

    customer = (await ask("customers", **{"metadata[team_id]": team}))["id"]
    method = (await ask(f"payment_methods/{CARD}/attach", customer=customer))["id"]
    await ask(f"customers/{customer}", **{"invoice_settings[default_payment_method]": method})
    fact = PaymentMethodChanged(
        customer_id=customer,
        payment_method_id=method,
        brand="visa",
        last4="4242",
        fingerprint=f"demo-{team}",
        changed_by=member,
    )
    async with connected(world.database) as owner, owner.transaction():
        await append(owner, [NewFact(team, "creditwell:cards", f"card:{method}", system_clock(), fact)])
