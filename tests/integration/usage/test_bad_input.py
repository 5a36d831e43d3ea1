"""Whatever arrives on the topic: it is refused with a reason that a feature team can act on, and its neighbours are stored."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from random import Random
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from deploy.local.stack import Stack
from tests.conftest import a_database
from tests.support.fleet import Fleet
from tests.support.packed import send_batch, with_header_name
from tests.support.usage import Message, binary, raw, reported, structured, used, voided
from tests.support.world import ServiceWorld, a_world

MB = 2**20
HUGE = json.dumps(reported("team_1", "huge") | {"comment": "x" * (10 * MB)}).encode()


numbers = count()


def right(**about: Any) -> dict[str, Any]:
    """A usage that would be recorded, with an id of its own."""
    return reported("team_1", f"bad-{next(numbers)}", **about)


def usage(**about: Any) -> Message:
    return structured(right(**about))


def with_data(**data: Any) -> Message:
    event = right()
    return structured(event | {"data": event["data"] | data})


def without(*names: str) -> Message:
    return raw(json.dumps({name: value for name, value in right().items() if name not in names}).encode())


def number(json_text: str) -> Message:
    """Text that Python's own writer of JSON would not write, in the place of the quantity."""
    return raw(json.dumps(right(quantity="HERE")).replace('"HERE"', json_text).encode())


def member(name: str, json_text: str) -> Message:
    """The same in the place of a member of the envelope, whether it is one that we know or not."""
    return raw(json.dumps(right() | {name: "HERE"}).replace('"HERE"', json_text).encode())


def data_member(name: str, json_text: str) -> Message:
    """The same in the place of a member of the data."""
    event = right()
    event["data"][name] = "HERE"
    return raw(json.dumps(event).replace('"HERE"', json_text).encode())


def rare(letters: int, seed: int) -> str:
    """Letters of four bytes each, which no compression makes shorter."""
    return "".join(map(chr, Random(seed).choices(range(0x20000, 0x2A6D0), k=letters)))


def voids(team_id: str = "team_1", **about: Any) -> dict[str, Any]:
    return voided(team_id, f"bad-{next(numbers)}", **about)


# What is ahead of the clock is made when it is sent: this file may have been read long before.
BAD: dict[str, tuple[Message | Callable[[], Message], str]] = {
    "no value": (raw(None), "empty_value"),
    "an empty value": (raw(b""), "empty_value"),
    "not JSON": (raw(b"hello"), "not_json"),
    "half of a JSON document": (raw(json.dumps(right()).encode()[:-9]), "not_json"),
    "bytes that are no text": (raw(b"\xff\xfe\x00{"), "not_json"),
    "JSON in UTF-16": (raw(json.dumps(right()).encode("utf-16")), "not_json"),
    "nested a hundred thousand deep": (raw(b"[" * 100_000), "not_json"),
    "nested deep within the event": (member("extra", "[" * 50_000 + "]" * 50_000), "not_json"),
    "a list": (raw(b"[]"), "wrong_shape"),
    "a number": (raw(b"42"), "wrong_shape"),
    "a string": (raw(b'"usage"'), "wrong_shape"),
    "null": (raw(b"null"), "wrong_shape"),
    "an empty object": (raw(b"{}"), "wrong_shape"),
    "no type": (without("type"), "wrong_shape"),
    "no data": (without("data"), "wrong_shape"),
    "data is a list": (usage(data=[]), "wrong_shape"),
    "no time": (without("time"), "wrong_shape"),
    "no id": (without("id"), "wrong_shape"),
    "no source": (without("source"), "wrong_shape"),
    "no team": (without("subject"), "wrong_shape"),
    "the team is null": (member("subject", "null"), "wrong_shape"),
    "a team with a slash": (usage(subject="team/1"), "wrong_shape"),
    "a team that leads elsewhere": (usage(subject=".."), "wrong_shape"),
    "a member with a line break": (with_data(member_id="mem\u20281"), "wrong_shape"),
    "an id of 129 characters": (used("team_1", "x" * 129), "wrong_shape"),
    "names of 1,024 bytes each": (
        structured(right(subject=rare(256, 1), source=rare(256, 2)) | {"id": rare(256, 3)}), "wrong_shape",
    ),
    "a source with a space": (usage(source="/features/my video"), "wrong_shape"),
    "an older CloudEvents": (usage(specversion="0.3"), "wrong_shape"),
    "a time without zone": (usage(at="2026-11-23T10:15:30"), "wrong_shape"),
    "a time that is no time": (usage(at="yesterday"), "wrong_shape"),
    "a time as a number": (member("time", "1795000000"), "wrong_shape"),
    "the 30th of February": (usage(at="2026-02-30T10:00:00Z"), "wrong_shape"),
    "21 attributes": (with_data(attributes={f"a{n}": "x" for n in range(21)}), "wrong_shape"),
    "an attribute that is a list": (with_data(attributes={"tier": ["low"]}), "wrong_shape"),
    "no feature": (with_data(feature=None), "wrong_shape"),
    "no quantity": (structured(right() | {"data": {"feature": "ai_image.generate"}}), "wrong_shape"),
    "another version of a known type": (usage(type="usage.reported.v2"), "unknown_version"),
    "a type that nobody knows": (usage(type="video.rendered.v1"), "unknown_type"),
    "a type of ours": (usage(type="credits.granted.v1"), "unknown_type"),
    "a type that is a number": (member("type", "7"), "unknown_type"),
    "NaN": (number("NaN"), "not_json"),
    "infinity": (number("Infinity"), "not_json"),
    "minus infinity": (number("-Infinity"), "not_json"),
    "NaN as text": (usage(quantity="NaN"), "bad_quantity"),
    "infinity as text": (usage(quantity="inf"), "bad_quantity"),
    "1e400": (number("1e400"), "bad_quantity"),
    "1e400 as text": (usage(quantity="1e400"), "bad_quantity"),
    "an exponent that no decimal has": (number("1e99999999999999999999"), "not_json"),
    "a negative exponent that no decimal has": (number("1e-99999999999999999999"), "not_json"),
    "a negative quantity": (usage(quantity="-1"), "bad_quantity"),
    "a negative number": (number("-1"), "bad_quantity"),
    "zero": (usage(quantity="0"), "bad_quantity"),
    "zero as a number": (number("0"), "bad_quantity"),
    "zero with places": (usage(quantity="0.000"), "bad_quantity"),
    "a truth": (number("true"), "bad_quantity"),
    "a list as quantity": (number("[1]"), "bad_quantity"),
    "null as quantity": (number("null"), "bad_quantity"),
    "a number of 16 digits": (number("1234567890123456"), "bad_quantity"),
    "a number of 5000 digits": (number("9" * 5000), "not_json"),
    "13 digits before the point": (usage(quantity="1000000000000"), "bad_quantity"),
    "ten places": (usage(quantity="0.0000000001"), "bad_quantity"),
    "an underscore": (usage(quantity="1_000"), "bad_quantity"),
    "spaces": (usage(quantity=" 5 "), "bad_quantity"),
    "a line end": (usage(quantity="5\n"), "bad_quantity"),
    "full-width digits": (usage(quantity="１２"), "bad_quantity"),
    "arabic digits": (usage(quantity="٣"), "bad_quantity"),
    "a plus": (usage(quantity="+1"), "bad_quantity"),
    "an empty quantity": (usage(quantity=""), "bad_quantity"),
    "more credits than an entry may have": (
        usage(quantity="999999999999", tier="standard"), "too_large",
    ),
    "a feature that nobody sells": (with_data(feature="ai_poem.write"), "unknown_feature"),
    "a tier that nobody sells": (usage(tier="imperial"), "unknown_rate"),
    "a team without plan": (used("team_nobody", "bad"), "unknown_team"),
    "the product itself as team": (used("creditwell", "bad"), "unknown_team"),
    "a key that is another team's": (structured(right(), key=b"team_2"), "wrong_key"),
    "no key": (Message(None, usage().value), "wrong_key"),
    "a key that is no text": (structured(right(), key=b"\xff\xfe"), "wrong_key"),
    "a source of ours": (usage(source="creditwell:cycles"), "reserved_source"),
    "a time ten minutes ahead": (lambda: usage(at=datetime.now(UTC) + timedelta(minutes=10)), "future_time"),
    "a time a thousand years ahead": (usage(at="3026-01-01T00:00:00Z"), "future_time"),
    "the end of time, west": (usage(at="9999-12-31T23:59:59.999999-12:00"), "wrong_time"),
    "older than the first rate card": (usage(at="2024-12-31T23:59:59Z"), "before_first_rate_card"),
    "the beginning of time, east": (usage(at="0001-01-01T00:00:00+14:00"), "wrong_time"),
    "a void of what nobody reported": (structured(voids(of="nothing")), "unknown_usage"),
    "a void without reason": (
        structured(voids(of="before") | {"data": {"usage_source": "/x", "usage_id": "y"}}), "wrong_shape",
    ),
    "a void of another service's usage": (
        structured(voids(of="before", source="/features/other") | {
            "data": {"usage_source": "/features/test", "usage_id": "before", "reason": "it was not mine"},
        }), "wrong_source",
    ),
    "the same id with an impossible time": (used("team_1", "before", at="0001-01-01T00:00:00+14:00"), "wrong_time"),
    "the same id at the end of time": (used("team_1", "before", at="9999-12-31T23:59:59.999999-12:00"), "wrong_time"),
    "the same id with another quantity": (used("team_1", "before", quantity="7"), "conflict"),
    "binary mode without data": (Message(b"team_1", None, binary(right()).headers), "empty_value"),
    "binary mode, an id that is no text": (binary(right() | {"id": "HERE"}, replaced=b"\xff"), "wrong_shape"),
    "binary mode without a type": (Message(b"team_1", b"{}", (("ce_id", b"x"),)), "wrong_shape"),
    "a value of 10 MB": (raw(HUGE), "record_too_big"),
    "10 MB of nothing": (raw(bytes(10 * MB)), "record_too_big"),
    "a key of 2 MB": (raw(b"hello", key=b"k" * (2 * MB)), "not_json"),
    "a header of 2 MB": (raw(b"hello", headers=(("h", b"h" * (2 * MB)),)), "not_json"),
    "a header name with NUL": (raw(b"hello", headers=(("a\0b", b"\0"),)), "not_json"),
    "10,000 headers": (raw(b"hello", headers=tuple((f"h{n}", b"x") for n in range(10_000))), "not_json"),
    "a header without value": (raw(b"hello", headers=(("h", None),)), "not_json"),
}  # fmt: skip


# As JSON writes them, and as the reason shows them.
NO_TEXT = {
    "NUL": (r'"a\u0000b"', r"a\x00b"), "a lone surrogate": (r'"a\ud800b"', r"a\ud800b"), "a control character": (r'"a\u0007b"', r"a\x07b"),
}  # fmt: skip
WORDS: dict[str, tuple[str, ...]] = {}
for what, (text, shown) in NO_TEXT.items():
    problem = f"'{shown}' {'has half of a letter' if what == 'a lone surrogate' else 'does not match '}"
    BAD[f"{what} in type"] = (member("type", text), "unknown_type")
    WORDS[f"{what} in type"] = (" is not known; send usage.reported.v1, usage.voided.v1 or usage.amended.v1",)
    for place in ("source", "id", "subject", "time", "specversion", "data"):
        BAD[f"{what} in {place}"] = (member(place, text), "wrong_shape")
        WORDS[f"{what} in {place}"] = (f"{place}: ", f"'{shown}'")
    BAD[f"{what} in data.quantity"] = (data_member("quantity", text), "bad_quantity")
    WORDS[f"{what} in data.quantity"] = (f"quantity: '{shown}' is no quantity",)
    for place in ("member_id", "feature", "hold_id"):
        BAD[f"{what} in data.{place}"] = (data_member(place, text), "wrong_shape")
        WORDS[f"{what} in data.{place}"] = (f"data.{place}: ", f"'{shown}'")
    for shape in ('{"tier": X}', '{X: "low"}', "{X: 1}", "{X: {X: X}}"):
        BAD[f"{what} in attributes {shape}"] = (data_member("attributes", shape.replace("X", text)), "wrong_shape")
        WORDS[f"{what} in attributes {shape}"] = ("data.attributes.", problem)


@dataclass(frozen=True)
class Verdicts:
    """What became of each bad record and of its neighbours."""

    sent: dict[str, Message]
    rows: dict[str, asyncpg.Record | None]
    neighbours_sent: set[str]
    neighbours_stored: set[str]


@pytest.fixture(scope="module")
async def verdicts(stack: Stack, template: str) -> AsyncIterator[Verdicts]:
    """Every bad record is sent once, between two good ones, to one and the same recorder."""
    async with a_database(stack, template) as database, a_world(stack, database) as world:
        await world.team("team_1")
        good = {f"good-{n}" for n in range(2 * len(BAD))}
        names = iter(sorted(good))
        async with world.recorder():
            await world.send(used("team_1", "before"))
            await world.recorded()
            places, sent = {}, {}
            for what, (bad, _) in BAD.items():
                sent[what] = message = bad if isinstance(bad, Message) else bad()
                _, places[what], _ = await world.send(used("team_1", next(names)), message, used("team_1", next(names)))
            await world.recorded(within=120)
        refused = {(row["partition"], row["offset"]): row for row in await world.refused()}
        stored = set(await world.usage_ids()) - {"before"}
        yield Verdicts(sent, {what: refused.get(place) for what, place in places.items()}, good, stored)


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_record_is_refused_with_a_reason_and_its_bytes(what: str, verdicts: Verdicts) -> None:
    message, (_, expected) = verdicts.sent[what], BAD[what]
    row = verdicts.rows[what]

    assert row is not None, "it was not refused"
    assert row["reason"] == expected, row["detail"]
    assert [words for words in WORDS.get(what, ()) if words not in row["detail"]] == [], row["detail"]
    assert 0 < len(row["detail"]) <= 500
    assert row["key"] == (message.key and message.key[: 64 * 1024])
    assert row["sha256"] == sha256(message.value or b"").digest()
    assert row["size"] == len(message.value or b"")
    if message.value is None or len(message.value) <= MB:
        assert row["value"] == message.value
    else:
        assert row["value"] == message.value[: 64 * 1024]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no time", "time: is missing"),
        ("no data", "data: is missing"),
        ("data is a list", "data: a list is not an object: write its members in braces"),
        (
            "a time without zone",
            "time: '2026-11-23T10:15:30' is not an instant: write one with its offset from UTC, such as 2026-01-01T00:00:00Z",
        ),
    ],
)
async def test_the_recorder_says_what_is_wrong_in_the_words_of_the_api(
    what: str, words: str, verdicts: Verdicts
) -> None:
    row = verdicts.rows[what]

    assert row is not None
    assert row["detail"] == words


async def test_the_neighbours_of_bad_records_are_stored(verdicts: Verdicts) -> None:
    assert verdicts.neighbours_stored == verdicts.neighbours_sent


async def test_what_the_contract_explains_is_recorded_as_it_explains_it(world: ServiceWorld) -> None:
    twice = json.dumps(reported("team_1", "twice", quantity="1")).replace(
        '"quantity": "1"', '"quantity": "1", "quantity": "3"'
    )
    prompt = reported("team_1", "prompt")
    prompt["data"]["prompt"] = "a cat in the rain"
    await world.team("team_1")

    async with world.recorder():
        await world.send(
            raw(twice.encode()),
            structured(prompt),
            used("team_1", "15 digits", quantity=123456.789012345),
            used("team_1", "a number", quantity=12.5),
            used("team_1", "a whole number", quantity=2),
            used("team_1", "more zeros than needed", quantity="012.500"),
            used("team_1", "four minutes ahead", at=datetime.now(UTC) + timedelta(minutes=4)),
            member("extra", "1e99999999999999999999"),  # unknown members are ignored
            member("extra", '"half a letter \\ud83d"'),
            data_member("prompt", '"half a letter \\ud83d"'),
            used("team_1", "the last"),
        )
        await world.recorded()

    facts = {stored.id: json.loads(stored.body) for stored in await world.facts("team_1", type="usage.recorded.v1")}
    assert await world.reasons() == []
    assert {id: fact["quantity"] for id, fact in facts.items() if "bad" not in id} == {
        "twice": "3",
        "prompt": "1",
        "15 digits": "123456.789012345",
        "a number": "12.5",
        "a whole number": "2",
        "more zeros than needed": "12.5",
        "four minutes ahead": "1",
        "the last": "1",
    }
    assert "prompt" not in facts["prompt"]


async def test_a_header_name_that_is_no_text_stops_nobody(world: ServiceWorld) -> None:
    await world.team("team_1")

    async with world.recorder():
        before = await world.send(used("team_1", "before"))
        await send_with_header_name(world, b"\xff\xfe\xff", used("team_1", "named"), partition=before[0][0])
        await world.send(used("team_1", "after"))
        await world.recorded()

    assert {"before", "after"} <= set(await world.usage_ids())


async def send_with_header_name(world: ServiceWorld, name: bytes, message: Message, *, partition: int) -> None:
    assert message.key is not None
    assert message.value is not None
    batch = with_header_name(name, key=message.key, value=message.value)
    async with AIOKafkaProducer(bootstrap_servers=world.stack.kafka) as producer:
        world.ends[partition] = await send_batch(producer, batch, partition=partition) + 1


async def test_when_more_than_half_is_refused_the_recorder_says_so_loudly_and_goes_on(world: ServiceWorld) -> None:
    await world.team("team_1")

    with capture_logs() as lines:
        async with world.recorder() as service:
            await world.send(*[raw(b"nonsense") for _ in range(60)], *[used("team_1", f"good-{n}") for n in range(40)])
            await world.recorded()
            value = service.health.registry.get_sample_value
            share = value("creditwell_usage_refused_share")
            refused = value("creditwell_usage_refused_total", {"reason": "not_json"})
            written = value("creditwell_commit_seconds_count")

    loud = [line for line in lines if line["log_level"] == "error"]
    assert loud, lines
    assert "more than half" in loud[0]["event"]
    assert loud[0]["last_reason"] == "not_json"
    assert share is not None
    assert share > 0.5
    assert refused == 60
    assert written
    assert len(await world.usage_ids()) == 40


async def test_values_of_ten_megabytes_and_what_unpacks_to_them_leave_memory_bounded(
    world: ServiceWorld, fleet: Fleet
) -> None:
    await world.team("team_1")
    fleet.start("recorder")
    await fleet.ready("recorder")
    packed = AIOKafkaProducer(bootstrap_servers=world.stack.kafka, compression_type="gzip", max_request_size=16 * MB)
    async with packed:
        for n in range(12):
            await world.send(*[raw(HUGE, partition=n % 8) for n in range(4)], used("team_1", f"between-{n}"))
            done = await packed.send_and_wait("usage", bytes(15 * MB), key=b"team_1", partition=n % 8)
            world.ends[done.partition] = max(world.ends.get(done.partition, 0), done.offset + 1)
    await world.recorded(within=120)

    assert len(await world.usage_ids()) == 12
    assert set(await world.reasons()) == {"record_too_big"}
    assert peak_memory_mb(fleet.processes["recorder"].pid) < 400


def peak_memory_mb(pid: int) -> float:
    """The most that a process ever held, by the kernel's word."""
    with open(f"/proc/{pid}/status") as status:
        (kilobytes,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(kilobytes) / 1024
