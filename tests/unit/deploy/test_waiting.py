"""How long the start of a server is waited for: told with a clock that the test sets."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.errors import (
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    NodeNotReadyError,
    NotControllerError,
    PolicyViolationError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)

from deploy.local.topics import passes
from deploy.local.trouble import StackTrouble
from deploy.local.waiting import (
    AT_MOST_SECONDS,
    REMIND_SECONDS,
    STILL_SECONDS,
    Patience,
    cpu_seconds,
    wait_for_answer,
    wait_for_end,
    wait_until,
)

QUIET = (sys.executable, "-c", "import time; time.sleep(600)")
BUSY = (sys.executable, "-c", "while True: pass")
DYING = ("sh", "-c", "exit 7")


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    log = tmp_path / "server.log"
    log.write_text("it begins\n")
    return log


@pytest.fixture
def quiet() -> Iterator[subprocess.Popen[bytes]]:
    yield from running(QUIET)


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    yield from running(BUSY)


def running(program: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(program) as child:
        yield child
        child.kill()


def test_a_server_that_stands_still_is_given_up_with_its_last_lines(
    clock: Clock, log: Path, quiet: subprocess.Popen[bytes]
) -> None:
    patience = Patience("Kafka", quiet, log, clock=clock)
    clock.advance(STILL_SECONDS - 1)
    patience.check()
    clock.advance(2)

    with pytest.raises(StackTrouble, match=r"(?s)^Kafka: .*nothing has moved for 121 s.*it begins"):
        patience.check()


def test_while_its_log_grows_it_is_waited_for_but_not_for_ever(
    clock: Clock, log: Path, quiet: subprocess.Popen[bytes]
) -> None:
    patience = Patience("Kafka", quiet, log, clock=clock)
    for _ in range(int(AT_MOST_SECONDS // (STILL_SECONDS - 20))):
        clock.advance(STILL_SECONDS - 20)
        with log.open("a") as more:
            more.write("and goes on\n")
        patience.check()
    clock.advance(STILL_SECONDS - 20)

    with pytest.raises(StackTrouble, match=r"(?s)^Kafka: not ready after 700 s.*goes on"):
        patience.check()


def test_a_server_that_writes_nothing_but_works_is_waited_for(
    clock: Clock, log: Path, busy: subprocess.Popen[bytes]
) -> None:
    patience = Patience("Kafka", busy, log, clock=clock)
    wait_until(lambda: cpu_seconds(busy.pid) > 1, Patience("the child", busy))
    clock.advance(STILL_SECONDS + 1)
    patience.check()

    busy.send_signal(signal.SIGSTOP)
    clock.advance(2)
    patience.check()
    clock.advance(STILL_SECONDS + 1)
    with pytest.raises(StackTrouble, match="nothing has moved"):
        patience.check()


def test_another_answer_is_progress_and_the_last_one_is_told(clock: Clock) -> None:
    patience = Patience("Kafka", clock=clock)
    for answer in ("no broker", "a fenced broker"):
        clock.advance(STILL_SECONDS - 1)
        patience.check(answer)
    clock.advance(STILL_SECONDS + 1)

    with pytest.raises(StackTrouble, match="a fenced broker"):
        patience.check("a fenced broker")


def test_a_server_that_ends_is_told_at_once_with_its_code_and_its_last_lines(clock: Clock, log: Path) -> None:
    with subprocess.Popen(DYING) as child:
        child.wait()
    patience = Patience("Kafka", child, log, clock=clock)

    with pytest.raises(StackTrouble, match=r"(?s)^Kafka: ended with code 7; its last lines:\n  it begins"):
        patience.check()


def test_a_program_that_is_meant_to_end_is_waited_for_till_its_exit_code(log: Path) -> None:
    with subprocess.Popen(DYING) as child:
        assert wait_for_end(child, step="PostgreSQL", log=log) == 7


async def test_an_attempt_that_hangs_is_given_up_when_the_server_dies(
    log: Path, quiet: subprocess.Popen[bytes]
) -> None:
    given_up: list[str] = []

    async def hang() -> None:
        quiet.kill()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.append("the attempt")

    with pytest.raises(StackTrouble, match="ended with code -9"):
        await wait_for_answer(hang, Patience("Kafka", quiet, log), passes=passes)

    assert given_up == ["the attempt"]


async def test_attempts_are_repeated_while_their_failures_pass_and_no_longer(clock: Clock) -> None:
    coming = [
        NodeNotReadyError("not yet"),
        NotControllerError("not I"),
        InvalidPartitionsError("never"),
        ValueError("x"),
    ]

    async def fail() -> None:
        raise coming.pop(0)

    with pytest.raises(InvalidPartitionsError):
        await wait_for_answer(fail, Patience("Kafka", clock=clock), passes=passes)

    assert len(coming) == 1


def test_a_long_wait_says_now_and_then_what_it_waits_for_in_lines_of_a_terminal(clock: Clock) -> None:
    said: list[str] = []
    patience = Patience("Kafka", say=said.append, clock=clock)
    for _ in range(45):
        clock.advance(REMIND_SECONDS / 20)
        patience.check("a broker answers, but none is ready to serve")

    assert [line.partition(";")[0] for line in said] == [
        "Kafka: not ready after 21 s, still waiting",
        "Kafka: not ready after 42 s, still waiting",
    ]
    assert all(len(line) < 80 for text in said for line in text.splitlines())


@pytest.mark.parametrize(
    "failure",
    [
        InvalidReplicationFactorError("Unable to replicate the partition 1 time(s): all brokers are fenced"),
        NodeNotReadyError("no node"),
        KafkaConnectionError("closed"),
        NotControllerError(),
        RequestTimedOutError(),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError(),
    ],
)
def test_what_passes_while_a_broker_starts_is_put_into_words(failure: Exception) -> None:
    assert passes(failure)


@pytest.mark.parametrize(
    "failure",
    [
        InvalidPartitionsError("0 partitions"),
        InvalidConfigurationError("no such setting"),
        PolicyViolationError("not here"),
        TopicAuthorizationFailedError("not you"),
        ValueError("our mistake"),
    ],
)
def test_what_would_come_again_is_not_waited_for(failure: Exception) -> None:
    assert passes(failure) is None
