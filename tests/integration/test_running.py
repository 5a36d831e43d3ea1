"""Whatever a process does, it starts, stops and fails in one way, and its exit code tells which."""

import json
import os
import signal
import subprocess
import sys

import pytest

from deploy.local.folders import ROOT, free_ports
from services.giving_way import OF_THE_SESSION
from services.settings import variable

# What a process does is a function here: the plumbing around it is what is tested.
PROGRAM = """
import asyncio, sys
from services.clock import pause
from services.running import run_process
from services.settings import load_settings

async def work(settings, stop, health):
    health.ready()
    settings.require("kafka")
    {work}

sys.exit(run_process("{name}", work, load_settings(), stop_at_eof={at_eof}))
"""


def start(
    work: str,
    environment: dict[str, str] | None = None,
    *,
    name: str = "probe",
    at_eof: bool = False,
    own_session: bool = False,
) -> subprocess.Popen[str]:
    given = {
        f"CREDITWELL_{name}": value
        for name, value in {"KAFKA": "k:1", "LOG_FORMAT": "json", **(environment or {})}.items()
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(work=work, name=name, at_eof=at_eof)],
        env={**os.environ, **given},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=own_session,
    )


def last_line(said: str) -> dict[str, object]:
    line: dict[str, object] = json.loads(said.strip().splitlines()[-1])
    return line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_asked_to_stop_stops_with_code_0(number: signal.Signals) -> None:
    process = start("await stop.wait()")
    assert process.stderr is not None
    process.stderr.readline()  # started

    process.send_signal(number)

    assert "stopped" in process.communicate(timeout=60)[1]
    assert process.returncode == 0


def test_a_process_whose_parent_is_gone_stops() -> None:
    process = start("await stop.wait()", at_eof=True)

    process.communicate(timeout=60)

    assert process.returncode == 0


def test_a_process_that_fails_says_why_and_ends_with_code_1() -> None:
    process = start("raise RuntimeError('the log is upside down')")

    line = last_line(process.communicate(timeout=60)[1])

    assert process.returncode == 1
    assert (line["event"], line["error"]) == ("failed", "the log is upside down")
    assert "Traceback" in str(line["exception"])


def test_a_process_that_ends_though_nobody_asked_it_to_ends_with_code_1() -> None:
    process = start("pass")

    assert "nobody had asked" in process.communicate(timeout=60)[1]
    assert process.returncode == 1


def test_a_process_that_misses_a_setting_ends_with_code_2_and_names_it_also_out_of_a_group_of_tasks() -> None:
    in_a_group = """async with asyncio.TaskGroup() as group:
        async def child():
            settings.require("database")
        group.create_task(child())"""
    cases: list[tuple[str, dict[str, str], str]] = [("pass", {"KAFKA": ""}, "kafka"), (in_a_group, {}, "database")]
    for work, environment, name in cases:
        process = start(work, environment)

        said = process.communicate(timeout=60)[1]

        assert process.returncode == 2
        assert f"creditwell: {variable(name)} is not set." in said
        assert "Traceback" not in said


def test_a_port_that_is_taken_ends_the_process_with_code_2_and_names_the_setting() -> None:
    (port,) = free_ports(1)
    holder = start("await stop.wait()", {"HEALTH_PORT": str(port)})
    assert holder.stderr is not None
    holder.stderr.readline()  # started

    process = start("await stop.wait()", {"HEALTH_PORT": str(port)})

    assert f"CREDITWELL_HEALTH_PORT is wrong: can't listen on 127.0.0.1:{port}" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
    holder.terminate()
    holder.communicate(timeout=60)


NICENESS = (
    "import os; print(os.nice(0), open('/proc/self/autogroup').read().split()[-1], flush=True); await stop.wait()"
)


@pytest.mark.skipif(not OF_THE_SESSION.exists(), reason="this system does not share its processors out by sessions")
@pytest.mark.parametrize(
    ("name", "own_session", "least"),
    [
        pytest.param("recorder", True, (8, 8), id="a recorder"),
        pytest.param("recorder", False, (8, 0), id="a recorder in somebody's session"),
        pytest.param("api", True, (0, 0), id="the API"),
    ],
)
def test_who_works_through_masses_gives_way_to_who_answers(
    name: str, own_session: bool, least: tuple[int, int]
) -> None:
    ours = os.nice(0), int(OF_THE_SESSION.read_text().split()[-1]) if not own_session else 0
    process = start(NICENESS, name=name, own_session=own_session)
    assert process.stdout is not None
    said = process.stdout.readline().split()
    process.terminate()
    process.communicate(timeout=20)
    assert [int(niceness) for niceness in said] == [mine + more for mine, more in zip(ours, least, strict=True)]
