"""The README says what is true: its commands run, its verbs and files exist."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.local.__main__ import shell_variables
from deploy.local.forkserver import fork_server
from deploy.local.processes import Processes
from deploy.local.stack import start_stack
from deploy.local.world import LocalWorld, start_world
from services.api.tokens import TokenRole
from services.cli import app
from tests.support.waiting import PATIENCE_SECONDS, until_in_a_thread

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def world() -> Iterator[LocalWorld]:
    """A whole Creditwell, as `make up` starts it."""
    with (
        start_stack(say=print, name="readme") as stack,
        Processes(stack, say=print, forks=fork_server()) as processes,
    ):
        yield asyncio.run(start_world(stack, processes, say=print))


def test_one_event_is_sent_and_read_back_with_the_commands_of_the_readme(world: LocalWorld, tmp_path: Path) -> None:
    environment = tmp_path / "up.env"
    environment.write_text(shell_variables(world.as_document()))
    (commands,) = [block for block in BLOCKS if "/v1/usage" in block]
    send, receipt, balance, activity = re.split(r"\n(?=curl)", commands.strip())

    def run(command: str) -> Any:
        done = subprocess.run(
            ["sh", "-euc", f". {environment}\n{command}"], env={**os.environ, "NO_PROXY": "127.0.0.1"},
            capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run(send)
    until_in_a_thread(lambda: run(receipt)["status"] != "pending", what="the usage is recorded")
    told = run(receipt)
    assert told["status"] == "applied"
    assert run(balance)["total"] == f"{3000 + float(told['credits']):g}"
    assert [item["type"] for item in run(activity)["items"]] == ["usage", "refill"]
    assert run('creditwell balance "$TEAM" --json')["total"] == run(balance)["total"]


def test_usage_is_reported_with_the_python_of_the_readme(world: LocalWorld, tmp_path: Path) -> None:
    (example,) = PYTHON
    team = world.teams[1]
    theirs = {
        "creditwell_emitter": "schemas",
        "localhost:9092": world.kafka,
        "team_42": team.id,
        "/var/spool": f"{tmp_path}",
    }
    for written, meant in theirs.items():
        assert written in example
        example = example.replace(written, meant)

    subprocess.run([sys.executable, "-c", example], cwd=ROOT, check=True, timeout=60)

    headers = {"Authorization": f"Bearer {world.token(team.id, team.members[1].member_id, TokenRole.MEMBER)}"}
    activity = f"{world.api}/v1/teams/{team.id}/activity?days=1"
    until_in_a_thread(
        lambda: "ai_video.generate" in httpx2.get(activity, headers=headers, timeout=PATIENCE_SECONDS).text,
        what="the usage is recorded",
    )


def test_every_make_verb_of_the_readme_exists() -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= verbs


def test_every_creditwell_command_of_the_readme_exists() -> None:
    named = {found for block in BLOCKS for found in re.findall(r"^creditwell ([a-z-]+)", block, re.MULTILINE)}
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {group.name for group in app.registered_groups}

    assert named
    assert named <= commands | groups


def test_every_file_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"[`(]((?:schemas|projections|services|tests|deploy|docs)/[\w./-]+)[`)]", README))

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
