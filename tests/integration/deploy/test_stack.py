"""The local stack: what is started is really there, survives what it should survive, and is gone afterwards."""

import asyncio
import contextlib
import fcntl
import http.server
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.children import WHEN_ANNOUNCED, Guard
from deploy.local.folders import ROOT, RUN, disk_in_memory, folder_of, free_ports, new_lock
from deploy.local.owners import wait_for_guard
from deploy.local.processes import Processes
from deploy.local.servers import containers
from deploy.local.servers.topics import create_topics
from deploy.local.stack import Stack, start_stack
from deploy.local.trouble import StackTrouble
from tests.support.waiting import PATIENCE_SECONDS, until, until_in_a_thread

OWNER = """
import sys
from pathlib import Path
from deploy.local.servers import containers
from deploy.local.children import WHEN_ANNOUNCED, Guard
from deploy.local.folders import folder_of

lock = Path(sys.argv[1])
guard = Guard(lock)
folder = folder_of(lock)
guard.remove_at_end(folder)
folder.mkdir()
deaf, busy, frozen = "trap '' TERM; while true; do sleep 600; done", "sleep 600 & sleep 600", "kill -STOP $$; sleep 600"
for program in ("exec sleep 600", deaf, busy, frozen):
    print(guard.spawn(["sh", "-c", program], log=folder / "log", grace_seconds=1).pid, flush=True)
print("started", flush=True)
sys.stdin.read()
"""

# Whoever was put into the background by a shell has Ctrl-C ignored, and hands that down.
STACK_OWNER = """
import signal, sys
from deploy.local.stack import start_stack
signal.signal(signal.SIGINT, signal.default_int_handler)
with start_stack(say=lambda line: print(line, flush=True), name="test-owner") as stack:
    print(stack.source, stack.folder, stack.kafka, stack.database, sep="\\n", flush=True)
    print("started", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def native() -> Iterator[Stack]:
    with start_stack(say=print, name="test-native", native=True) as stack:
        yield stack


@dataclass(frozen=True)
class Neighbour:
    """A stack of somebody else's, who asked for none in particular."""

    owner: subprocess.Popen[str]
    said: list[str]
    source: str
    folder: Path
    kafka: str
    database: str


@pytest.fixture(scope="module")
def neighbour(native: Stack) -> Iterator[Neighbour]:
    """Started beside ours, where Docker answers but fails. Three tests look at it, and the last of them kills its owner."""
    with broken_docker() as address:
        owner, (*said, source, folder, kafka_there, database) = begin(STACK_OWNER, env=nothing_set(address))
    with owner:
        yield Neighbour(owner, said, source, Path(folder), kafka_there, database)
        owner.kill()


def nothing_set(docker: str) -> dict[str, str]:
    """An environment in which a stack must be started, and Docker is there."""
    ours = {"CREDITWELL_KAFKA", "CREDITWELL_DATABASE"}
    return {name: value for name, value in os.environ.items() if name not in ours} | {"DOCKER_HOST": docker}


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of our own, for us and for child processes, which others may enter as they may the system's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Programs of a stack that has neither Kafka nor PostgreSQL."""
    guard = Guard(tmp_path / "lock")
    (tmp_path / "logs").mkdir()
    with Processes(Stack("", "", "environment", tmp_path, guard), say=print) as running:
        yield running
    guard.close()


def test_nothing_is_left_of_an_owner_that_is_killed() -> None:
    lock = new_lock("test-guard")
    owner, said = begin(OWNER, str(lock))
    groups = [int(line) for line in said]
    assert all(members(group) for group in groups)

    owner.kill()

    wait_for_end_of_guard(lock)
    assert [group for group in groups if members(group)] == []
    assert not folder_of(lock).exists()


def test_nothing_is_left_of_an_owner_that_ends() -> None:
    lock = new_lock("test-guard")
    owner, said = begin(OWNER, str(lock))

    owner.communicate(timeout=PATIENCE_SECONDS)

    wait_for_end_of_guard(lock)
    assert [group for group in map(int, said) if members(group)] == []
    assert not folder_of(lock).exists()


def test_a_guard_whose_new_lock_was_taken_for_an_abandoned_one_makes_it_anew(tmp_path: Path) -> None:
    """Otherwise nobody could tell that the stack runs, and the next start might remove its folder."""
    lock = tmp_path / "lock"
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as `remove_abandoned` does, before the guard could
        guard = subprocess.Popen(
            [sys.executable, ROOT / "deploy/local/guard.py", lock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        until_open(guard.pid, lock)
        lock.unlink()
    assert guard.stdout is not None
    assert guard.stdout.readline() == "guarding\n"

    with lock.open("r+") as again, pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    guard.communicate(timeout=PATIENCE_SECONDS)
    assert not lock.exists()


def until_open(pid: int, path: Path) -> None:
    """Another process has opened a file."""

    def is_open() -> bool:
        return str(path) in {opened.path for opened in psutil.Process(pid).open_files()}

    until_in_a_thread(is_open, what=f"{path} is open")


def test_a_program_that_the_guard_never_heard_of_never_begins(tmp_path: Path) -> None:
    began = tmp_path / "began"

    subprocess.run(["/bin/sh", "-c", WHEN_ANNOUNCED, "sh", "touch", str(began)], stdin=subprocess.DEVNULL, check=False)

    assert not began.exists()


def test_a_stack_that_cannot_start_says_why_and_leaves_nothing(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_JAVA_OPTIONS", "-Xmx1k")  # wins over what the command line says

    with (
        pytest.raises(StackTrouble, match=r"(?s)Kafka: .*larger value than the maximum heap"),
        start_stack(say=print, name="test-broken", native=True),
    ):
        pass

    assert list(RUN.glob("test-broken-*")) == []
    assert list(temporary.iterdir()) == []


def test_ctrl_c_while_the_stack_starts_leaves_nothing(temporary: Path) -> None:
    natively = STACK_OWNER.replace('"test-owner"', '"test-ended", native=True')
    owner = subprocess.Popen(
        [sys.executable, "-c", natively], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    owner.stdout.readline()  # PostgreSQL is ready, Kafka is on its way
    servers = psutil.Process(owner.pid).children(recursive=True)

    owner.send_signal(signal.SIGINT)

    assert owner.wait(PATIENCE_SECONDS) != 0
    assert [server for server in servers if server.is_running() and server.status() != psutil.STATUS_ZOMBIE] == []
    assert list(RUN.glob("test-ended-*")) == []
    assert list(temporary.iterdir()) == []


async def test_the_topics_of_the_contract_are_there_and_are_made_only_once(native: Stack) -> None:
    await create_topics(native.kafka)

    wanted, found = {"usage": 64, "credits.events": 64, "usage.refused": 1}, {}
    admin = AIOKafkaAdminClient(bootstrap_servers=native.kafka)
    await admin.start()

    async def all_are_told() -> bool:  # a broker learns of topics a moment after the controller has made them
        found.update({topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()})
        return wanted.keys() <= found.keys()

    try:
        await until(all_are_told, what="the broker knows the topics")
    finally:
        await admin.close()
    assert {name: found[name] for name in wanted} == wanted


async def test_a_record_of_ten_megabytes_reaches_the_consumer(native: Stack) -> None:
    value = os.urandom(10_000_000)

    await send(native, value)

    assert value in await everything(native)


async def test_what_kafka_acknowledged_is_there_after_a_restart_and_after_a_kill(native: Stack) -> None:
    await send(native, b"before the restart")
    await asyncio.to_thread(native.restart_kafka)
    await send(native, b"before the kill")
    await asyncio.to_thread(native.kill_kafka)

    assert {b"before the restart", b"before the kill"} <= set(await everything(native))


async def test_what_postgres_committed_is_there_after_every_kind_of_restart(native: Stack) -> None:
    restarts = [
        lambda: native.restart_postgres("fast"),
        lambda: native.restart_postgres("immediate"),
        native.kill_postgres,
    ]
    async with connection(native.database) as first:
        await first.execute("CREATE TABLE restarts (number int PRIMARY KEY)")

    for number, restart in enumerate(restarts):
        async with connection(native.database) as busy:
            await busy.execute("INSERT INTO restarts VALUES ($1)", number)
            await asyncio.to_thread(restart)

    async with connection(native.database) as last:
        assert await last.fetchval("SELECT array_agg(number ORDER BY number) FROM restarts") == [0, 1, 2]


async def test_postgres_is_as_durable_as_in_production(native: Stack) -> None:
    async with connection(native.database) as asked:
        found = {
            name: await asked.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")
        }

    assert found == {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


async def test_postgres_that_waits_for_no_disk_lies_in_memory_and_refuses_to_be_crashed(stack: Stack) -> None:
    async with connection(stack.database) as asked:
        assert await asked.fetchval("SHOW fsync") == "off"
        data = Path(await asked.fetchval("SHOW data_directory"))
        assert data.is_relative_to(disk_in_memory() or data.anchor)

    for crash in (stack.kill_postgres, lambda: stack.restart_postgres("immediate")):
        with pytest.raises(StackTrouble, match="is not durable"):
            await asyncio.to_thread(crash)


@pytest.mark.usefixtures("durable")
async def test_a_test_that_crashes_postgres_has_a_durable_one(stack: Stack) -> None:
    async with connection(stack.database) as asked:
        assert [await asked.fetchval(f"SHOW {name}") for name in ("fsync", "full_page_writes")] == ["on", "on"]


def test_where_docker_answers_but_fails_one_line_says_so_and_the_stack_starts_without_it(neighbour: Neighbour) -> None:
    (line,) = (line for line in neighbour.said if line.startswith("Docker: "))
    assert "no space left on device" in line
    assert line.endswith("going on without it")
    assert neighbour.source == "native"


async def test_a_second_stack_runs_beside_the_first(native: Stack, neighbour: Neighbour) -> None:
    assert neighbour.kafka != native.kafka
    async with connection(neighbour.database) as one, connection(native.database) as other:
        await one.execute("CREATE TABLE only_here ()")
        assert await other.fetchval("SELECT to_regclass('only_here')") is None


async def test_a_stack_whose_owner_is_killed_leaves_no_server_and_no_file_and_the_first_runs_on(
    native: Stack, neighbour: Neighbour
) -> None:
    children = psutil.Process(neighbour.owner.pid).children(recursive=True)
    servers = [child for child in children if child.name() in {"java", "postgres"}]
    folder = neighbour.folder
    outside = Path((folder / "outside").read_text().strip()) if os.geteuid() == 0 else folder
    assert {server.name() for server in servers} == {"java", "postgres"}

    neighbour.owner.kill()

    wait_for_end_of_guard(folder.with_suffix(".lock"))
    assert [server for server in servers if server.is_running() and server.status() != psutil.STATUS_ZOMBIE] == []
    assert not folder.exists()
    assert not outside.exists()
    async with connection(native.database) as other:
        assert await other.fetchval("SELECT 1") == 1


def test_servers_of_the_environment_are_used_and_left_alone(native: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITWELL_KAFKA", native.kafka)
    monkeypatch.setenv("CREDITWELL_DATABASE", native.database)

    with start_stack(say=print, name="test-environment") as stack:
        assert (stack.kafka, stack.database, stack.source) == (native.kafka, native.database, "environment")
        with pytest.raises(StackTrouble, match="cannot be restarted from here"):
            stack.restart_kafka()


def test_half_an_environment_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITWELL_KAFKA", "localhost:9092")
    monkeypatch.delenv("CREDITWELL_DATABASE", raising=False)

    with (
        pytest.raises(StackTrouble, match="only one of CREDITWELL_KAFKA and CREDITWELL_DATABASE is set"),
        start_stack(say=print),
    ):
        pass


def test_docker_that_takes_too_long_is_given_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    said: list[str] = []
    guard = Guard(tmp_path / "lock")
    with broken_docker(thinks_seconds=60) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        started = containers.start(guard, tmp_path, say=said.append, start_seconds=4)
        guard.close()

    assert (started, said) == (None, ["Docker: not ready within 4 s; going on without it"])


async def test_a_process_that_dies_unasked_is_told_with_its_last_words(processes: Processes) -> None:
    processes.start("singer", ["sh", "-c", "echo my last words; exit 7"])

    assert await processes.ended("singer") == 7

    (died,) = processes.died
    assert (died.name, died.code, died.last_lines.strip()) == ("singer", 7, "my last words")


async def test_a_process_that_we_kill_did_not_die_unasked(processes: Processes) -> None:
    first = processes.start("sleeper", ["sleep", "600"])

    processes.kill("sleeper")

    assert await processes.ended("sleeper") == -signal.SIGKILL
    assert processes.start_again("sleeper").pid != first.pid
    assert processes.died == []


async def test_a_process_can_be_frozen_and_thawed(processes: Processes, tmp_path: Path) -> None:
    sleeper = psutil.Process(processes.start("sleeper", ["sleep", "600"]).pid)

    processes.pause("sleeper")
    await becomes(sleeper, psutil.STATUS_STOPPED)
    processes.resume("sleeper")
    await becomes(sleeper, psutil.STATUS_SLEEPING)

    processes.pause("sleeper")
    assert await processes.stop("sleeper") == -signal.SIGTERM


async def test_a_process_is_ready_when_its_address_says_so(processes: Processes) -> None:
    (port,) = free_ports(1)
    processes.start("web", [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"])

    await processes.wait_ready("web", f"http://127.0.0.1:{port}/")

    with pytest.raises(StackTrouble, match="404"):
        await processes.wait_ready("web", f"http://127.0.0.1:{port}/nothing-here", timeout_seconds=3)


async def test_waiting_for_a_process_that_cannot_start_ends_with_its_last_words(processes: Processes) -> None:
    processes.start("broken", [sys.executable, "-c", "raise SystemExit('CREDITWELL_KAFKA is missing')"], may_end=True)

    with pytest.raises(StackTrouble, match="CREDITWELL_KAFKA is missing"):
        await processes.wait_ready("broken", "http://127.0.0.1:9/readyz")


def begin(
    program: str, *arguments: str, env: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[str], list[str]]:
    """Run an owner until it says that it has started; with what it said before."""
    owner = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    said: list[str] = []
    for line in owner.stdout:
        if line == "started\n":
            return owner, said
        said.append(line.rstrip("\n"))
    raise AssertionError(f"the owner ended with code {owner.wait()}, saying {said}")


def members(group: int) -> list[psutil.Process]:
    """Processes of this group that still run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_for_end_of_guard(lock: Path) -> None:
    wait_for_guard(lock)
    assert not lock.exists()


async def becomes(process: psutil.Process, status: str) -> None:
    async def is_so() -> bool:
        return process.status() == status

    await until(is_so, what=f"the process is {status}")


@contextlib.asynccontextmanager
async def connection(database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connected = await asyncpg.connect(database)
    try:
        yield connected
    finally:
        connected.terminate()


async def send(stack: Stack, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka, acks="all", max_request_size=16 * 2**20) as producer:
        await producer.send_and_wait("usage", value)


async def everything(stack: Stack) -> list[bytes]:
    """All values in `usage` now."""
    consumer = AIOKafkaConsumer(
        "usage", bootstrap_servers=stack.kafka, auto_offset_reset="earliest", max_partition_fetch_bytes=16 * 2**20
    )
    values: list[bytes] = []
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                values += [record.value for record in records]
    return values


@contextlib.contextmanager
def broken_docker(*, thinks_seconds: float = 0) -> Iterator[str]:
    """The address of something that answers like Docker until it is asked for a container."""
    enough = threading.Event()

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, b'{"ApiVersion": "1.45", "Version": "27.0", "Id": "sha256:0"}')

        def do_POST(self) -> None:
            enough.wait(thinks_seconds)
            self.answer(500, b'{"message": "no space left on device"}')

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            print(format % arguments)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"tcp://127.0.0.1:{server.server_address[1]}"
        finally:
            enough.set()
            server.shutdown()
