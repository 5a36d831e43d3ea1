"""Plans that are sold without automatic top-ups."""

from importlib import resources
from pathlib import Path

from deploy.local.stack import Stack
from tests.support.api import an_api


async def test_an_admin_of_a_plan_without_top_ups_is_told_so_when_saving(
    stack: Stack, database: str, tmp_path: Path
) -> None:
    sold = resources.files("schemas").joinpath("catalog.toml").read_text(encoding="utf-8")
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(sold.replace("[plans.free]", "[plans.free]\ntop_ups = false"), encoding="utf-8")
    wanted = {"enabled": True, "threshold": "1000", "credits": "5000"}

    async with an_api(stack, database, catalog=str(catalog)) as api:
        await api.begin()
        for plan, status in (("free", 422), ("pro", 200)):
            assigned = await api.operator.put(f"{api.path}/plan", json={"plan": plan})
            assert assigned.is_success, assigned.text
            answer = await api.admin.put(f"{api.path}/top-up", json=wanted)
            assert answer.status_code == status, answer.text
            if status == 422:
                assert answer.json()["problems"] == ["plan free has no automatic top-ups: choose another plan first"]
