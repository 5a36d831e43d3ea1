"""What an emitter is told wrongly is refused where it is told, and what Kafka's client says over and over is not passed on."""

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.emitter import Emitter, InvalidReport
from schemas.emitter.arguments import NOT_YOURS
from schemas.emitter.logs import quieten_client

NOWHERE = "127.0.0.1:1"
CLIENT = logging.getLogger("aiokafka.of_a_test")  # the conftest hushes the client's own


def an_emitter(spool: Path, **changed: Any) -> Emitter:
    return Emitter(**{"kafka": NOWHERE, "source": "/features/video", "spool": spool, **changed})


@pytest.fixture
def emitter(tmp_path: Path) -> Iterator[Emitter]:
    emitter = an_emitter(tmp_path)
    yield emitter
    emitter.close(0)


@pytest.mark.parametrize(
    ("argument", "given", "words"),
    [
        ("fsync", "sometimes", "fsync: 'sometimes' is not one of always, interval, never"),
        ("kafka", "", "kafka: '' names no broker; write host:port"),
        ("kafka", "kafka-1:9092,,kafka-2:9092", "names no broker"),
        ("kafka", "kafka-1:9092 kafka-2:9092", "names no broker"),
        ("kafka", None, "name one way: kafka="),
        ("http", "https://credits.example.com", "name one way: kafka="),
        ("token", "eyJ", "token: Kafka takes none"),
        ("topic", "", "topic: '' is no name of a topic"),
        ("topic", "usage,usage2", "is no name of a topic"),
    ],
)
def test_a_wrong_argument_is_named_when_the_emitter_is_made(
    tmp_path: Path, argument: str, given: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        an_emitter(tmp_path, **{argument: given})
    an_emitter(tmp_path).close(0)  # the spool was let go of


@pytest.mark.parametrize(
    ("quantity", "shown"), [(10**100, "1.0e+100"), (-(10**5_000), "-1.0e+5000")], ids=["large", "endless"]
)
def test_a_whole_number_beyond_every_bound_is_named_and_not_written_out(
    emitter: Emitter, quantity: int, shown: str
) -> None:
    with pytest.raises(InvalidReport, match=f"quantity: '{re.escape(shown)}' is not one: pass a plain decimal"):
        emitter.report(team="team_1", feature="ai_video.generate", quantity=quantity)


@pytest.mark.parametrize("spool", ["", " "])
def test_a_spool_has_a_name(spool: str) -> None:
    with pytest.raises(ValueError, match="spool: it is empty; name a folder"):
        Emitter(kafka=NOWHERE, source="/features/video", spool=spool)


@pytest.mark.parametrize(
    ("argument", "given", "words"),
    [
        ("http", "", "http: '' is no address of the API; write one like https://credits.example.com"),
        ("http", "credits.example.com", "is no address"),
        ("http", "http://credits:eight", "is no address"),
        ("http", "ftp://credits.example.com", "is no address"),
        ("http", "https://credits.example.com?team=1", "is no address"),
        ("token", "", "token: the API needs one"),
        ("token", None, "token: the API needs one"),
        ("kafka_options", {}, "kafka_options: they are for Kafka"),
    ],
)
def test_a_wrong_argument_of_an_emitter_by_http_is_named(
    tmp_path: Path, argument: str, given: object, words: str
) -> None:
    about = {"kafka": None, "http": "https://credits.example.com", "token": "eyJ"}
    with pytest.raises(ValueError, match=re.escape(words)):
        an_emitter(tmp_path, **(about | {argument: given}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", NOT_YOURS)
def test_an_option_that_the_emitters_promises_rest_on_is_not_yours_to_set(tmp_path: Path, option: str) -> None:
    with pytest.raises(TypeError, match=f"kafka_options: {option} is not yours to set: "):
        an_emitter(tmp_path, kafka_options={option: 1})


@pytest.mark.parametrize("reason", ["", " \n"])
def test_usage_is_not_taken_back_without_a_reason(emitter: Emitter, reason: str) -> None:
    with pytest.raises(InvalidReport, match="reason: it is empty"):
        emitter.void(team="team_42", usage="u", reason=reason)
    assert emitter.metrics().refused == 1


def test_the_client_is_quiet_in_the_emitters_thread_and_in_no_other(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A command that ran in this process before has a log of its own, which shortens what the client says.
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])

    def say() -> None:
        quieten_client()
        CLIENT.error("unable to connect, again")

    with caplog.at_level(logging.DEBUG):
        speaking = threading.Thread(target=say)
        speaking.start()
        speaking.join()
        CLIENT.error("somebody else's")

    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("DEBUG", "aiokafka.of_a_test: unable to connect, again"), ("ERROR", "somebody else's"),
    ]  # fmt: skip
