"""Whatever a process does, it starts, stops and fails in one way, and its exit code tells which."""

import json
import os
import signal
import subprocess
import sys

import pytest

from deploy.local.folders import ROOT, free_ports
from services.runtime.niceness import NICENESS, OF_THE_SESSION
from services.runtime.settings import variable
from tests.support.collector import collecting
from tests.support.waiting import until_in_a_thread

# What a process does is a function here: the plumbing around it is what is tested.
PROGRAM = """
import asyncio, sys
from services.runtime.clock import pause
from services.runtime.running import run_process
from services.runtime.settings_loading import load_settings

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


SPAN = """from services.runtime.tracing.spans import span
    with span("work"):
        pass
    await stop.wait()"""


def test_a_process_sends_its_spans_where_the_standard_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        process = start(SPAN)
        (sent,) = until_in_a_thread(lambda: collector.spans)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)

    assert (sent.name, process.returncode) == ("work", 0)


def test_a_process_whose_collector_is_away_stops_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    process = start(SPAN)
    assert process.stderr is not None
    process.stderr.readline()  # started

    process.send_signal(signal.SIGTERM)

    assert "stopped" in process.communicate(timeout=60)[1]
    assert process.returncode == 0


def test_a_process_that_fails_says_why_and_ends_with_code_1() -> None:
    process = start("raise RuntimeError('the log is upside down')")

    line = last_line(process.communicate(timeout=60)[1])

    assert process.returncode == 1
    assert (line["event"], line["error"]) == ("failed", "the log is upside down")
    assert "Traceback" in str(line["exception"])


def test_a_process_that_is_refused_says_why_also_out_of_a_group_of_tasks() -> None:
    process = start("""from services.runtime.errors import Refused
    async with asyncio.TaskGroup() as group:
        async def child():
            raise Refused("migrations_missing", "the database was never migrated")
        group.create_task(child())""")

    line = last_line(process.communicate(timeout=60)[1])

    assert process.returncode == 1
    assert (line["event"], line["error"]) == ("failed", "migrations_missing: the database was never migrated")


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


NICENESS_MAX = 19  # the system's
SHARES = "import os; print(os.nice(0), open('/proc/self/autogroup').read(), flush=True); await stop.wait()"


def shares(said: str) -> tuple[int, int | None]:
    """Niceness of a process and of its session, of a line `8 /autogroup-17 nice 8`; a session of no group says nothing."""
    own, *session = said.split()
    return int(own), int(session[-1]) if session else None


def shares_of(name: str, *, own_session: bool) -> tuple[int, int | None]:
    process = start(SHARES, name=name, own_session=own_session)
    assert process.stdout is not None
    said = process.stdout.readline()
    process.terminate()
    process.communicate(timeout=60)
    return shares(said)


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system knows no masses")
def test_who_works_through_masses_takes_a_core_from_nobody_who_answers() -> None:
    policies = {
        name: start("import os; print(os.sched_getscheduler(0), flush=True)", name=name).communicate(timeout=60)[0]
        for name in ("recorder", "projector")
    }

    assert {name: int(policy) for name, policy in policies.items()} == {
        "recorder": os.SCHED_BATCH, "projector": os.sched_getscheduler(0),
    }  # fmt: skip


@pytest.mark.skipif(not OF_THE_SESSION.exists(), reason="this system does not share its processors out by sessions")
def test_who_works_through_masses_gives_way_to_who_answers() -> None:
    own, session = shares(f"{os.nice(0)} {OF_THE_SESSION.read_text()}")
    given_way = min(own + NICENESS, NICENESS_MAX)  # whoever runs the tests may give way, too

    assert shares_of("recorder", own_session=False) == (given_way, session)  # others are part of this session
    in_its_own, api_in_its_own = (shares_of(name, own_session=True) for name in ("recorder", "api"))
    assert (in_its_own[0], api_in_its_own[0]) == (given_way, own)
    # Where sharing by sessions is switched off, a new session has no group either.
    assert (in_its_own[1], api_in_its_own[1]) in {(8, 0), (None, None)}
