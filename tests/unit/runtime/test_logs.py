"""What Kafka's client says while brokers are away becomes a line a minute, with a count."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from services.runtime.logs import KAFKA_CLIENT_SECONDS, QUIET, OneLineOfMany, configure_logs
from services.runtime.settings import Settings

CLIENT = logging.getLogger("aiokafka.conn")


@pytest.fixture
def as_before() -> Iterator[None]:
    """Logging is the process's: put it back."""
    root, config = logging.getLogger(), structlog.get_config()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in (None, *QUIET)}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.configure(**config)


def said(log: OneLineOfMany, name: str = CLIENT.name, *, level: int = logging.ERROR, error: bool = False) -> str | None:
    """How a line is told; None where it is left out."""
    exc_info = (ValueError, ValueError("?"), None) if error else None
    record = logging.LogRecord(name, level, __file__, 1, "Unable to connect to %s", ("broker-1",), exc_info)
    return f"{record.levelname} {record.getMessage()}" if log.filter(record) else None


def test_of_many_lines_in_a_minute_one_is_told_and_the_next_one_counts_the_rest() -> None:
    clock = [0.0]
    log = OneLineOfMany(lambda: clock[0])

    assert said(log) == "WARNING Kafka's client: Unable to connect to broker-1"
    assert [said(log) for _ in range(500)] == [None] * 500
    clock[0] = KAFKA_CLIENT_SECONDS - 1
    assert said(log) is None
    clock[0] = KAFKA_CLIENT_SECONDS
    told = "WARNING Kafka's client: Unable to connect to broker-1 (501 lines of its were left out since the last one)"
    assert said(log) == told
    clock[0] *= 2
    assert said(log) == "WARNING Kafka's client: Unable to connect to broker-1"


def test_what_comes_with_a_traceback_and_what_others_say_is_told_each_time() -> None:
    log = OneLineOfMany()

    assert said(log) is not None
    assert said(log, error=True) == "ERROR Unable to connect to broker-1"
    assert said(log, "aiokafkaesque") == said(log, "services") == "ERROR Unable to connect to broker-1"
    assert said(log) is None


@pytest.mark.parametrize(("levels", "lines"), [("", 1), ("aiokafka=warning", 3)])
def test_a_process_says_one_of_them_unless_it_was_asked_for_all(
    as_before: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], levels: str, lines: int
) -> None:
    for name in (CLIENT.name, "aiokafka"):
        monkeypatch.setattr(logging.getLogger(name), "filters", [])  # those of the tests
    configure_logs(Settings(log_format="json", log_levels=levels), "recorder")

    for _ in range(3):
        CLIENT.error("Unable to connect to %s", "broker-1")

    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(told) == lines
    assert {line["level"] for line in told} == {"error" if levels else "warning"}
