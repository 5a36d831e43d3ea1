"""What a feature service reports reaches Kafka, whatever happens to either of them."""

import asyncio
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # its stubs forget to export it

from deploy.local.stack import Stack
from schemas.emitter import Emitter, InvalidReport, Receipt
from schemas.emitter.ids import uuid7s
from schemas.emitter.spool import SpoolClosed, SpoolFull, SpoolInUse
from schemas.usage import UsageVoidReported, parse_usage
from tests.support.waiting import PATIENCE_SECONDS, until_in_a_thread

ROOT = Path(__file__).parents[3]
SOURCE = "/features/video"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOWHERE = "127.0.0.1:1"  # nothing listens there
PARTITIONS = 4


@pytest.fixture
def topic(stack: Stack) -> str:
    return make_topic(stack.kafka, f"usage.{secrets.token_hex(4)}")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def emitter(stack: Stack, topic: str, spool: Path) -> Iterator[Emitter]:
    with Emitter(kafka=stack.kafka, source=SOURCE, spool=spool, topic=topic) as made:
        yield made


@pytest.fixture
def stranded(spool: Path) -> Iterator[Emitter]:
    """An emitter whose Kafka is not there."""
    with Emitter(kafka=NOWHERE, source=SOURCE, spool=spool, exit_timeout_seconds=0) as made:
        yield made


def make_topic(kafka: str, name: str, *, config: Mapping[str, str] | None = None) -> str:
    admin = AdminClient({"bootstrap.servers": kafka})
    new = NewTopic(name, num_partitions=PARTITIONS, replication_factor=1, config=dict(config or {}))
    admin.create_topics([new])[name].result(60)
    return name


def received(kafka: str, topic: str) -> list[Message]:
    """Everything on a topic, read by another client."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "test", "enable.partition.eof": True})
    messages: list[Message] = []
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    ends = 0
    while ends < PARTITIONS:
        message = consumer.poll(60)
        assert message is not None, f"{ends} of {PARTITIONS} partitions read"
        error = message.error()
        if error is None:
            messages.append(message)
        else:
            assert error.code() == KafkaError._PARTITION_EOF, error
            ends += 1
    consumer.close()
    return messages


def events(kafka: str, topic: str) -> list[dict[str, Any]]:
    return [json.loads(message.value() or b"") for message in received(kafka, topic)]


def ids(kafka: str, topic: str) -> list[str]:
    return [event["id"] for event in events(kafka, topic)]


def report(emitter: Emitter, number: int = 0, **changes: Any) -> Receipt:
    usage = {"team": f"team_{number % 7}", "feature": "ai_video.generate", "quantity": "12.5"}
    return emitter.report(**{**usage, **changes})


def test_a_report_is_the_event_that_the_contract_shows(stack: Stack, topic: str, emitter: Emitter) -> None:
    at = datetime(2025, 11, 23, 10, 15, 30, 123456, UTC)
    receipt = emitter.report(
        team="team_42",
        feature="ai_video.generate",
        quantity="12.5",
        member="mem_7",
        attributes={"tier": "high"},
        hold="hold_9",
        at=at,
        id="job-1",
        traceparent=TRACE,
    )
    report(emitter, id="job-2", traceparent="of nobody")
    assert emitter.flush(60)
    message, other = sorted(received(stack.kafka, topic), key=lambda one: json.loads(one.value() or b"")["id"])

    assert "traceparent" not in json.loads(other.value() or b"")
    assert receipt == Receipt("team_42", SOURCE, "job-1", at)
    assert message.key() == b"team_42"
    assert json.loads(message.value() or b"") == {
        "specversion": "1.0",
        "type": "usage.reported.v1",
        "source": SOURCE,
        "id": "job-1",
        "subject": "team_42",
        "traceparent": TRACE,
        "time": "2025-11-23T10:15:30.123456Z",
        "data": {
            "member_id": "mem_7",
            "feature": "ai_video.generate",
            "quantity": "12.5",
            "attributes": {"tier": "high"},
            "hold_id": "hold_9",
        },
    }


def test_others_understand_a_report(stack: Stack, topic: str, emitter: Emitter) -> None:
    report(emitter, team="tëam")
    assert emitter.flush(60)
    (message,) = received(stack.kafka, topic)
    key, value = message.key(), message.value() or b""
    headers: Any = message.headers()

    usage = parse_usage(value, [])
    assert usage.type == "usage.reported.v1"
    assert (usage.subject, usage.data.feature, usage.data.quantity) == ("tëam", "ai_video.generate", "12.5")
    event = from_structured(KafkaMessage(dict(headers), key, value), JSONFormat(), CloudEvent)
    assert (event.get_source(), event.get_type(), event.get_subject()) == (SOURCE, "usage.reported.v1", "tëam")


def test_a_void_names_the_usage_of_its_own_source(stack: Stack, topic: str, emitter: Emitter) -> None:
    usage = report(emitter)
    emitter.void(team="team_0", usage=usage, reason="the clip was unusable")
    emitter.void(team="team_0", usage="job-1", reason="the job was cancelled")
    assert emitter.flush(60)

    voids = [parse_usage(message.value(), []) for message in received(stack.kafka, topic)][1:]
    assert all(isinstance(void, UsageVoidReported) for void in voids)
    assert [void.data.model_dump() for void in voids] == [
        {"usage_source": SOURCE, "usage_id": usage.id, "reason": "the clip was unusable"},
        {"usage_source": SOURCE, "usage_id": "job-1", "reason": "the job was cancelled"},
    ]


def test_only_the_team_and_the_source_of_a_usage_can_void_it(stranded: Emitter) -> None:
    usage = report(stranded)
    with pytest.raises(InvalidReport, match="it was reported for team_0 by /features/video"):
        stranded.void(team="team_1", usage=usage, reason="wrong")


def test_a_teams_reports_are_in_order_in_the_partition_of_kafkas_default(
    stack: Stack, topic: str, emitter: Emitter
) -> None:
    sent = [report(emitter, number) for number in range(5_000)]
    assert emitter.flush(60)
    messages = received(stack.kafka, topic)

    of_team: dict[str, list[str]] = {}
    for message in messages:
        event = json.loads(message.value() or b"")
        of_team.setdefault(event["subject"], []).append(event["id"])
        team = message.key() or b""
        assert team == event["subject"].encode()
        assert message.partition() == DefaultPartitioner()(team, list(range(PARTITIONS)), list(range(PARTITIONS)))
    assert of_team == {
        team: [receipt.id for receipt in sent if receipt.team == team] for team in {receipt.team for receipt in sent}
    }


@pytest.mark.parametrize(
    "quantity", ["1", "012.50", "999999999999.999999999", 3, Decimal("0.000000001"), Decimal("1E+3")]
)
def test_quantities_are_text_whole_numbers_or_decimals(stranded: Emitter, quantity: Any) -> None:
    report(stranded, quantity=quantity)

    assert stranded.metrics().reported == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"quantity": 12.5}, "quantity: 12.5 is a float: pass a str such as '12.5', an int or a Decimal"),
        ({"quantity": True}, "quantity: True is a bool"),
        ({"quantity": None}, "quantity: it is missing"),
        ({"quantity": "0"}, "quantity: '0' is not one: pass a plain decimal, more than zero"),
        ({"quantity": "0.000"}, "quantity: '0.000' is not one"),
        ({"quantity": -1}, "quantity: '-1' is not one"),
        ({"quantity": "1e3"}, "quantity: '1e3' is not one"),
        ({"quantity": " 5 "}, "quantity: ' 5 ' is not one"),
        ({"quantity": "5\n"}, "is not one"),
        ({"quantity": "\uff15"}, "is not one"),
        ({"quantity": "1_000"}, "is not one"),
        ({"quantity": Decimal("NaN")}, "quantity: 'NaN' is not one"),
        ({"quantity": Decimal("1E-10")}, "at most 12 digits before the point and 9 after it"),
        ({"quantity": 10**12}, "at most 12 digits"),
        ({"quantity": Decimal("1E+999999999999999")}, "quantity: '1E+999999999999999' is not one"),
        ({"quantity": Decimal("1E-999999999999999")}, "quantity: '1E-999999999999999' is not one"),
        ({"team": ""}, "team: string should have at least 1 character"),
        ({"team": "a\x00b"}, "team: an id has 1 to 128 characters, no space, no control character"),
        ({"team": "x" * 129}, "team: string should have at most 128 characters"),
        ({"team": "\ud800"}, "team: "),
        ({"team": 7}, "team: input should be a valid string, not 7"),
        ({"feature": "a\n"}, "feature: "),
        ({"member": ""}, "member: "),
        ({"member": "a/b"}, "no dot at its beginning, not 'a/b'"),
        ({"hold": "\x7f"}, "hold: "),
        ({"id": ""}, "id: "),
        ({"attributes": ["low"]}, "attributes: a list is not an object"),
        ({"attributes": 7}, "attributes: 7 is not an object"),
        ({"attributes": {"tier": 3}}, "attributes.tier: input should be a valid string, not 3"),
        ({"attributes": {str(key): "x" for key in range(21)}}, "attributes: has more than 20 entries"),
        (
            {"at": datetime.fromisoformat("2026-01-01")},
            "at: 2026-01-01 00:00:00 is not an instant: write one with its offset",
        ),
        ({"at": "2026-01-01T00:00:00Z"}, "at: "),
        ({"at": datetime(1, 1, 1, tzinfo=UTC)}, "at: the year 1 can't be meant"),
        ({"at": datetime.max.replace(tzinfo=UTC)}, "at: the year 9999 can't be meant"),
        ({"at": datetime(3026, 1, 1, tzinfo=UTC)}, "at: 3026-01-01T00:00:00+00:00 lies ahead of this clock"),
    ],
)
def test_what_would_be_refused_is_refused_at_once_in_the_callers_words(
    stranded: Emitter, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidReport) as refused:
        report(stranded, **change)

    assert complaint in str(refused.value)
    assert (stranded.metrics().refused, stranded.metrics().spooled) == (1, 0)


def test_a_clock_may_be_five_minutes_off_and_no_more(stranded: Emitter) -> None:
    report(stranded, at=datetime.now(UTC) + timedelta(minutes=4))
    with pytest.raises(InvalidReport, match="lies ahead of this clock; report what has happened"):
        report(stranded, at=datetime.now(UTC) + timedelta(minutes=6))


def test_a_source_must_be_one_of_a_feature_service(spool: Path) -> None:
    for source, complaint in (
        ("", "source: "),
        ("has space", "does not match"),
        ("creditwell:refill", "Creditwell's own"),
    ):
        with pytest.raises(ValueError, match=complaint):
            Emitter(kafka=NOWHERE, source=source, spool=spool)


def test_options_that_kafkas_client_does_not_know_are_named_at_once(spool: Path) -> None:
    for options, words in (({"compresion": "gzip"}, "compresion"), ({"acks": 1}, "kafka_options: acks is not yours")):
        with pytest.raises(TypeError, match=words):
            Emitter(kafka=NOWHERE, source=SOURCE, spool=spool, kafka_options=options)
    Emitter(kafka=NOWHERE, source=SOURCE, spool=spool).close(0)


def test_a_caller_never_waits_for_kafka(stranded: Emitter) -> None:
    for number in range(2_000):
        report(stranded, number)

    metrics = stranded.metrics()
    assert (metrics.reported, metrics.spooled, metrics.delivered) == (2_000, 2_000, 0)
    assert metrics.oldest_age_seconds is not None
    assert metrics.oldest_age_seconds >= 0
    until_in_a_thread(lambda: "Connection" in (stranded.metrics().trouble or ""))
    assert not stranded.flush(0.1)


def test_an_emitter_reports_thousands_while_it_delivers(stack: Stack, topic: str, emitter: Emitter) -> None:
    for number in range(20_000):
        report(emitter, number, member="mem_7", attributes={"tier": "high"})

    assert emitter.flush(60)
    assert len(received(stack.kafka, topic)) == 20_000


def test_what_one_process_could_not_send_the_next_one_does_with_the_same_ids(
    stack: Stack, topic: str, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Emitter(kafka=NOWHERE, source=SOURCE, spool=spool, topic=topic)
    sent = [report(first, number).id for number in range(300)]
    assert first.close(0.1) is False
    assert f"300 reports remain in {spool} and are sent at the next start" in caplog.text

    with Emitter(kafka=stack.kafka, source=SOURCE, spool=spool, topic=topic) as second:
        assert second.metrics().reported == 0
        assert second.flush(60)
        assert second.metrics().delivered == 300
    assert sorted(ids(stack.kafka, topic)) == sorted(sent)
    assert list(spool.glob("*.spool")) == []


def test_a_broker_that_goes_away_and_comes_back_loses_nothing(
    stack: Stack, topic: str, emitter: Emitter, caplog: pytest.LogCaptureFixture
) -> None:
    assert stack.native_kafka is not None
    caplog.set_level(logging.INFO, "schemas.emitter.sender")
    sent = [report(emitter, number).id for number in range(1_000)]
    assert emitter.flush(60)

    stack.native_kafka.stop(signal.SIGKILL)
    sent += [report(emitter, number).id for number in range(1_000, 4_000)]
    assert not emitter.flush(1)
    assert emitter.metrics().spooled == 3_000
    stack.native_kafka.start()
    sent += [report(emitter, number).id for number in range(4_000, 5_000)]

    assert emitter.flush(60)
    assert emitter.metrics().trouble is None
    arrived = ids(stack.kafka, topic)
    assert sorted(set(arrived)) == sorted(sent)


KILLED = """
import sys
from pathlib import Path
from schemas.emitter import Emitter
kafka, topic, spool = sys.argv[1:]
emitter = Emitter(kafka=kafka, source="/features/video", spool=Path(spool), topic=topic)
for number in range(1_000_000):
    receipt = emitter.report(team=f"team_{number % 7}", feature="ai_image.generate", quantity=1)
    print(receipt.id, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 500, 20_000])
def test_kill_9_loses_nothing_that_was_reported(stack: Stack, topic: str, spool: Path, lines: int) -> None:
    told: list[str] = []
    with running(KILLED, stack.kafka, topic, str(spool)) as process:
        assert process.stdout is not None
        told += [process.stdout.readline().strip() for _ in range(lines)]
        process.kill()
        told += process.stdout.read().split()
    if len(told[-1]) < 36:  # killed in the middle of saying it
        told.pop()

    with Emitter(kafka=stack.kafka, source=SOURCE, spool=spool, topic=topic) as again:
        assert again.flush(60)
    arrived = ids(stack.kafka, topic)
    assert len(told) >= lines
    assert set(told) <= set(arrived)
    assert len(set(arrived)) <= len(told) + 1


def running(script: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


ENDS = """
import sys
from pathlib import Path
from schemas.emitter import Emitter
kafka, topic, spool, how = sys.argv[1:]
emitter = Emitter(kafka=kafka, source="/features/video", spool=Path(spool), topic=topic, exit_timeout_seconds=1)
for number in range(200):
    emitter.report(team="team_42", feature="ai_image.generate", quantity=1)
if how == "raises":
    raise RuntimeError("a bug of the service")
if how == "exits":
    sys.exit(3)
"""


@pytest.mark.parametrize("how", ["ends", "raises", "exits"])
def test_a_program_that_simply_ends_delivers_what_it_reported(stack: Stack, topic: str, spool: Path, how: str) -> None:
    kafka = stack.kafka.replace("127.0.0.1", "localhost")  # a name, which must be looked up while the program ends
    with running(
        ENDS.replace("exit_timeout_seconds=1", "exit_timeout_seconds=30"), kafka, topic, str(spool), how
    ) as process:
        _, said = process.communicate(timeout=60)

    assert process.returncode == {"ends": 0, "raises": 1, "exits": 3}[how], said
    assert len(set(ids(stack.kafka, topic))) == 200
    assert list(spool.glob("*.spool")) == []


def test_a_program_that_ends_without_kafka_does_not_wait_for_ever(spool: Path) -> None:
    with running(ENDS, NOWHERE, "usage", str(spool), "ends") as process:
        _, said = process.communicate(timeout=60)

    assert process.returncode == 0
    assert f"200 reports remain in {spool}" in said
    assert "Traceback" not in said
    assert "was never retrieved" not in said
    assert "Unclosed" not in said


def test_a_spool_serves_one_emitter_at_a_time(stranded: Emitter, spool: Path) -> None:
    with pytest.raises(SpoolInUse, match=f"in use by process {os.getpid()}"):
        Emitter(kafka=NOWHERE, source=SOURCE, spool=spool)

    report(stranded)
    assert stranded.close(0) is False
    with pytest.raises(SpoolClosed):
        report(stranded)
    assert stranded.close() is False
    assert stranded.flush() is False


def test_a_spool_without_room_says_so_and_takes_reports_again_when_kafka_has_some(
    stack: Stack, topic: str, spool: Path
) -> None:
    room = 4 * 4 * 1024 * 1024
    stranded = Emitter(kafka=NOWHERE, source=SOURCE, spool=spool, topic=topic, spool_max_bytes=room)
    attributes = {f"key_{key}": "x" * 128 for key in range(20)}

    def report_for_ever() -> None:
        for number in count():
            report(stranded, number, attributes=attributes)

    with pytest.raises(SpoolFull, match="reports wait in"):
        report_for_ever()
    taken = stranded.metrics().reported
    assert (taken > 1_000, stranded.metrics().refused) == (True, 1)
    assert sum(path.stat().st_size for path in spool.iterdir()) < room + 100
    stranded.close(0)

    with Emitter(kafka=stack.kafka, source=SOURCE, spool=spool, topic=topic, spool_max_bytes=room) as emitter:
        assert emitter.flush(60)
        report(emitter)
        assert emitter.flush(60)
    assert len(set(ids(stack.kafka, topic))) == taken + 1


def test_a_topic_that_takes_less_at_once_gets_smaller_batches(stack: Stack, spool: Path) -> None:
    topic = make_topic(stack.kafka, f"small.{secrets.token_hex(4)}", config={"max.message.bytes": "20000"})
    with Emitter(kafka=stack.kafka, source=SOURCE, spool=spool, topic=topic) as emitter:
        sent = [report(emitter, team="team_42").id for _ in range(1_000)]
        assert emitter.flush(60)

    assert sorted(set(ids(stack.kafka, topic))) == sorted(sent)


def test_a_topic_that_is_not_there_yet_is_waited_for(stack: Stack, spool: Path) -> None:
    name = f"late.{secrets.token_hex(4)}"
    options = {"metadata_max_age_ms": 500, "request_timeout_ms": 1_000}
    with Emitter(kafka=stack.kafka, source=SOURCE, spool=spool, topic=name, kafka_options=options) as emitter:
        sent = report(emitter).id
        until_in_a_thread(lambda: emitter.metrics().trouble is not None)
        make_topic(stack.kafka, name)
        assert emitter.flush(60)

    assert set(ids(stack.kafka, name)) == {sent}


async def test_coroutines_report_flush_and_close_without_blocking_their_loop(stack: Stack, spool: Path) -> None:
    topic = f"async.{secrets.token_hex(4)}"
    options = {"metadata_max_age_ms": 500, "request_timeout_ms": 1_000}
    async with Emitter(kafka=stack.kafka, source=SOURCE, spool=spool, topic=topic, kafka_options=options) as emitter:
        report(emitter)
        # As long as the two that are waited for below may take, and once more.
        flushed = asyncio.create_task(emitter.flush_async(3 * PATIENCE_SECONDS))
        await asyncio.to_thread(until_in_a_thread, lambda: emitter.metrics().trouble is not None)
        assert not flushed.done()
        # What the flush waits for is made by the loop that it would block.
        await asyncio.to_thread(make_topic, stack.kafka, topic)
        assert await flushed
    assert not emitter.spool.open
    assert len(await asyncio.to_thread(received, stack.kafka, topic)) == 1


def test_many_threads_share_an_emitter(stack: Stack, topic: str, emitter: Emitter) -> None:
    sent: list[str] = []

    def work(thread: int) -> None:
        mine = [report(emitter, thread).id for _ in range(1_000)]
        sent.extend(mine)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert emitter.flush(60)
    assert len(set(sent)) == 6_000
    assert sorted(ids(stack.kafka, topic)) == sorted(sent)


def test_identities_are_version_7_and_sort_by_time() -> None:
    drawn = list(islice(uuid7s(), 5_000))

    parsed = [uuid.UUID(text) for text in drawn]
    assert {(one.version, one.variant) for one in parsed} == {(7, uuid.RFC_4122)}
    assert [str(one) for one in parsed] == drawn
    assert len(set(drawn)) == 5_000
    stamps = [one.int >> 64 for one in parsed]
    assert stamps == sorted(stamps)
    age_ms = time.time_ns() // 1_000_000 - (parsed[-1].int >> 80)
    assert 0 <= age_ms < 60_000


WHEEL = """
import sys
from pathlib import Path
from creditwell_emitter.emitter import Emitter
assert not [name for name in sys.modules if name.split(".")[0] == "schemas"]
kafka, topic, spool = sys.argv[1:]
emitter = Emitter(kafka=kafka, source="/features/video", spool=Path(spool), topic=topic)
print(emitter.report(team="team_42", feature="ai_video.generate", quantity="12.5").id)
"""


def test_the_wheel_of_other_teams_works_with_nothing_but_what_it_names(
    stack: Stack, topic: str, spool: Path, tmp_path: Path
) -> None:
    uv = run("deploy/local/uv.sh", sys.executable)
    run(uv, "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(tmp_path), "deploy/emitter")
    (wheel,) = tmp_path.glob("creditwell_emitter-*.whl")
    python = tmp_path / "venv" / "bin" / "python"
    run(uv, "venv", "--python", sys.executable, str(tmp_path / "venv"))
    run(uv, "pip", "install", "--python", str(python), "--constraint", "requirements.lock", str(wheel))

    command = [str(python), "-c", WHEEL, stack.kafka, topic, str(spool)]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60).stdout

    assert ids(stack.kafka, topic) == [said.strip()]
    assert (tmp_path / "venv/lib").glob("*/site-packages/creditwell_emitter/py.typed")


def run(*command: str) -> str:
    """What a command of this checkout prints."""
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
