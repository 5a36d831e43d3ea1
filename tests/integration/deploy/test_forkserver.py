"""A process that was forked is one like any other: only its imports were made before."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.children import Guard
from deploy.local.folders import ROOT, own_environment
from deploy.local.forkserver import Forked, ForkServer, can_run, fork_server
from deploy.local.processes import Processes, service_command
from deploy.local.stack import Stack
from tests.support.waiting import until

SIGNER = service_command("signer")  # asks for its settings first, and so ends at once
MISSING = "creditwell: CREDITWELL_DATABASE is not set."

# Two of its children run, one waits to begin; it says their pids and waits for its own end.
OWNER = """
import os, sys
from pathlib import Path
from deploy.local.forkserver import fork_server
server = fork_server()
command = [sys.executable, "-m", "deploy.local.stripe", "--port", "0", "--key", "sk_test_owner"]
children = [server.fork(output=2, errors=2) for _ in range(3)]
for child in children[:2]:
    child.begin(command, env=os.environ, cwd=Path.cwd())
print(server.pid, *(child.pid for child in children), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server() -> ForkServer:
    server = fork_server()
    if server is None:
        pytest.skip("this system has no file that tells of a child's end: processes are started as always")
    return server


@pytest.fixture
def processes(tmp_path: Path, server: ForkServer) -> Iterator[Processes]:
    """Of a stack that has neither Kafka nor PostgreSQL."""
    guard = Guard(tmp_path / "lock")
    (tmp_path / "logs").mkdir()
    with Processes(Stack("", "", "environment", tmp_path, guard), say=print, forks=server) as running:
        yield running
    guard.close()


def begun(server: ForkServer, log: Path, **env: str) -> Forked:
    with log.open("ab") as output:
        child = server.fork(output=output.fileno(), errors=output.fileno())
    child.begin(SIGNER, env=env, cwd=ROOT)
    return child


def test_it_says_and_ends_as_the_command_line_does(server: ForkServer, tmp_path: Path) -> None:
    env = {**own_environment(), "CREDITWELL_LOG_FORMAT": "console", "CREDITWELL_NO_SUCH_SETTING": "1"}
    started = subprocess.run(SIGNER, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    forked = begun(server, tmp_path / "log", **env)

    assert forked.wait(60) == started.returncode == 2

    def told(said: str) -> list[str]:  # without the instant and the pid
        return [line.partition("[")[2].partition("pid=")[0] or line for line in said.splitlines()]

    assert MISSING in started.stderr
    assert told((tmp_path / "log").read_text()) == told(started.stderr)


def test_its_environment_is_its_own_and_not_the_servers(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDITWELL_DATABASE", "postgresql://the-servers")
    another = ForkServer()

    child = begun(another, tmp_path / "log")

    assert child.wait(60) == 2
    assert MISSING in (tmp_path / "log").read_text()
    another.close()


async def test_it_leads_a_session_and_holds_no_file_of_the_server(server: ForkServer, processes: Processes) -> None:
    begun_before = processes.start("before", stand_in(), may_end=True)
    process = processes.start("stripe", stand_in(), may_end=True)
    await listening(begun_before.log)
    await listening(process.log)

    files = {
        number: os.readlink(f"/proc/{process.pid}/fd/{number}") for number in os.listdir(f"/proc/{process.pid}/fd")
    }

    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    assert (files["0"], files["1"], files["2"]) == (os.devnull, str(process.log), str(process.log))
    sockets = {name for name in files.values() if name.startswith("socket:")}
    of_the_server = {os.readlink(f"/proc/{server.pid}/fd/{number}") for number in os.listdir(f"/proc/{server.pid}/fd")}
    assert not sockets & of_the_server


async def test_kill_9_is_told_as_such_and_a_frozen_one_is_no_dead_one(processes: Processes) -> None:
    process = processes.start("stripe", stand_in(), may_end=True)
    processes.pause("stripe")

    async def frozen() -> bool:
        return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED

    await until(frozen, what="it is frozen")
    assert process.code is None

    processes.kill("stripe")

    assert await processes.ended("stripe", timeout_seconds=60) == -signal.SIGKILL
    assert process.child.poll() == -signal.SIGKILL


async def test_its_pid_is_its_own_until_its_end_was_looked_at(server: ForkServer) -> None:
    child = server.fork(output=2, errors=2)
    os.kill(child.pid, signal.SIGKILL)

    async def dead() -> bool:
        return psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE

    await until(dead, what="it is dead")
    assert await asyncio.to_thread(child.wait, 60) == -signal.SIGKILL

    async def gone() -> bool:
        return not psutil.pid_exists(child.pid)

    await until(gone, what="its pid is free")
    child.send_signal(signal.SIGKILL)  # reaches nobody
    assert child.wait() == -signal.SIGKILL


async def test_whoever_waits_for_one_that_runs_is_told_so(server: ForkServer) -> None:
    child = server.fork(output=2, errors=2)

    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)

    child.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(child.wait, 60) == -signal.SIGTERM


async def test_nothing_is_left_when_the_owner_is_killed() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert all(psutil.pid_exists(pid) for pid in pids)

    owner.kill()
    owner.communicate()

    async def gone() -> bool:
        return not any(running(pid) for pid in pids)

    await until(gone, what="server and children end")


def test_only_what_was_loaded_is_forked() -> None:
    assert can_run(SIGNER)
    assert not can_run(["sh", "-c", "exit 7"])
    assert not can_run([sys.executable, "-c", "pass"])
    assert not can_run([sys.executable, "-m", "http.server", "0"])


def stand_in() -> list[str]:
    """A process of ours that needs nothing else."""
    return [sys.executable, "-m", "deploy.local.stripe", "--port", "0", "--key", "sk_test_forked"]


async def listening(log: Path) -> None:
    async def told() -> bool:
        return log.exists() and "http://127.0.0.1:" in log.read_text()

    await until(told, what="it listens")


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
