"""What feature services say is read as it was sent, by whichever way it comes."""

import json
from base64 import b64encode
from typing import Any

import pytest

from schemas import usage
from schemas.cloudevents import BadUsage
from schemas.digests import digest_of_report
from schemas.usage import parse_usage
from tests.support.decoders import check_decoders
from tests.support.usage import binary, reported, structured, voided

AT = "2026-11-23T10:15:30Z"
EVENT = reported("team_1", "a", at=AT)
CLOUDEVENTS = ("content-type", b"application/cloudevents+json; charset=UTF-8")


def parsed(value: bytes, *headers: tuple[str, bytes]) -> bytes:
    """The digest of what was said."""
    return digest_of_report(parse_usage(value, headers))


def refused(event: dict[str, Any] | bytes, *headers: tuple[str, bytes]) -> tuple[str, str]:
    """Reason and detail."""
    with pytest.raises(BadUsage) as bad:
        parse_usage(event if isinstance(event, bytes) else json.dumps(event).encode(), headers)
    return bad.value.reason, bad.value.detail


EVENT_BYTES = json.dumps(EVENT).encode()
RIGHT = parsed(EVENT_BYTES)


def packed(event: dict[str, Any], **more: Any) -> bytes:
    """The event with its data in base64."""
    data = b64encode(json.dumps(event["data"]).encode()).decode()
    return json.dumps(
        {name: value for name, value in event.items() if name != "data"} | {"data_base64": data} | more
    ).encode()


@pytest.mark.parametrize(
    "headers",
    [
        (CLOUDEVENTS,),
        (CLOUDEVENTS, ("ce_traceparent", b"00-1-2-00")),
        (("ce_specversion", b"1.0"), ("ce_type", b"x"), ("Content-Type", b"APPLICATION/CloudEvents+json")),
        (("ce_traceparent", b"00-1-2-00"),),
        (("content-type", b"application/json"), ("traceparent", b"00-1-2-00")),
    ],
)
def test_a_structured_event_is_read_whatever_headers_it_has(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert parsed(EVENT_BYTES, *headers) == RIGHT


def test_an_event_in_binary_mode_is_read() -> None:
    message = binary(EVENT)

    assert message.value is not None
    assert parsed(message.value, *message.headers) == RIGHT
    assert parsed(message.value, *[(name.upper(), text) for name, text in message.headers]) == RIGHT


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "text/json", "application/x+json", "JSON", None]
)
def test_data_in_base64_is_the_same_usage(kind: str | None) -> None:
    assert parsed(packed(EVENT, datacontenttype=kind)) == RIGHT
    assert parsed(packed({name: value for name, value in EVENT.items() if name != "datacontenttype"})) == RIGHT
    assert parsed(packed(EVENT, data=None, datacontenttype=kind)) == RIGHT
    void = voided("team_1", "v", of="a", at=AT)
    assert parsed(packed(void)) == parsed(json.dumps(void).encode())


@pytest.mark.parametrize(
    ("more", "reason", "words"),
    [
        ({"data": EVENT["data"]}, "wrong_shape", "data, data_base64: an event has one of them"),
        ({"datacontenttype": "image/png"}, "not_json", "datacontenttype: 'image/png' is not JSON"),
        ({"datacontenttype": 7}, "not_json", "datacontenttype: 7 is not JSON"),
        ({"data_base64": "%%%"}, "wrong_shape", "data_base64: is not text in base64"),
        ({"data_base64": 1.5}, "wrong_shape", "data_base64: is not text in base64"),
        ({"data_base64": "é"}, "wrong_shape", "data_base64: is not text in base64"),
        ({"data_base64": b64encode(b"hello").decode()}, "not_json", "data_base64: the value is not JSON"),
        ({"data_base64": b64encode(b"[1]").decode()}, "wrong_shape", "data: a list is not an object"),
    ],
)
def test_data_in_base64_that_can_not_be_read_is_refused_by_its_name(
    more: dict[str, Any], reason: str, words: str
) -> None:
    refusal = refused(packed(EVENT, **more))

    assert refusal[0] == reason
    assert words in refusal[1]


@pytest.mark.parametrize("wrong", ["15", "1.5", "1.0", "1e400", "true"])
@pytest.mark.parametrize("name", ["specversion", "source", "id", "subject", "time"])
def test_a_number_is_no_text_whole_or_not(name: str, wrong: str) -> None:
    value = json.dumps(EVENT | {name: "HERE"}).replace('"HERE"', wrong).encode()

    reason, detail = refused(value)

    assert reason == "wrong_shape"
    assert detail.startswith(f"{name}: ")


@pytest.mark.parametrize("wrong", ["15", "1.5", "1.0"])
@pytest.mark.parametrize("name", ["feature", "member_id", "hold_id", "attributes.tier"])
def test_nor_is_it_in_the_data(name: str, wrong: str) -> None:
    event = json.loads(EVENT_BYTES)
    outer, _, inner = name.partition(".")
    event["data"][outer] = {inner: "HERE"} if inner else "HERE"

    reason, detail = refused(json.dumps(event).replace('"HERE"', wrong).encode())

    assert reason == "wrong_shape"
    assert detail.startswith(f"data.{name}: ")
    data = json.dumps(event["data"]).replace('"HERE"', wrong).encode()
    assert refused(data, *binary(EVENT).headers)[0] == "wrong_shape"


def test_a_byte_order_mark_is_passed_over() -> None:
    mark = b"\xef\xbb\xbf"
    message = binary(EVENT)

    assert message.value is not None
    assert parsed(mark + EVENT_BYTES) == RIGHT
    assert parsed(mark + message.value, *message.headers) == RIGHT
    assert refused(mark + mark + EVENT_BYTES)[0] == "not_json"


HALF = "a cat \ud83d"  # as JavaScript cuts and writes a text: "\\ud83d" is half of an emoji


@pytest.mark.parametrize("name", ["comment", "data.prompt"])
def test_half_a_letter_in_a_member_that_nobody_knows_is_nobodys_concern(name: str) -> None:
    event = json.loads(EVENT_BYTES)
    place = event["data"] if "." in name else event
    place[name.rpartition(".")[2]] = {HALF: [HALF]}

    assert parsed(json.dumps(event).encode()) == RIGHT
    assert parsed(json.dumps(event["data"]).encode(), *binary(EVENT).headers) == RIGHT


@pytest.mark.parametrize(
    "name", ["source", "id", "subject", "time", "specversion", "data", "data.feature", "data.member_id", "data.hold_id"]
)
def test_half_a_letter_in_one_that_counts_is_refused_by_its_name(name: str) -> None:
    event = json.loads(EVENT_BYTES)
    place = event["data"] if "." in name else event
    place[name.rpartition(".")[2]] = HALF

    reason, detail = refused(event)

    assert (reason, detail.partition(": ")[0]) == ("wrong_shape", name)
    assert "half of a letter" in detail


@pytest.mark.parametrize("attributes", [{"tier": HALF}, {HALF: "low"}, {HALF: {"deep": [HALF] * 3}}])
def test_nor_is_it_taken_in_an_attribute(attributes: dict[str, Any]) -> None:
    event = json.loads(EVENT_BYTES)
    event["data"]["attributes"] = attributes

    reason, detail = refused(event)

    assert reason == "wrong_shape"
    assert detail.startswith("data.attributes.")
    assert "half of a letter" in detail


@pytest.mark.parametrize("quantity", ["1", "01"], ids=["for the fast decoder", "for the slow one"])
def test_bytes_that_are_no_text_make_no_event_wherever_they_stand(quantity: str) -> None:
    event = reported("team_1", "a", at=AT, quantity=quantity) | {"comment": "HERE"}

    assert refused(json.dumps(event).encode().replace(b"HERE", b"caf\xe9"))[0] == "not_json"


def test_a_serializer_with_a_schema_registry_is_told_what_to_send() -> None:
    reason, detail = refused(b"\0\0\0\0\7" + EVENT_BYTES)

    assert (reason, "schema registry" in detail) == ("not_json", True)


@pytest.mark.parametrize("places", ["1234565", "1234567", "9999999", "123456499", "000000999"])
def test_more_than_six_places_of_a_second_are_the_same_microsecond_in_both_modes(places: str) -> None:
    event = reported("team_1", "a", at=f"2026-11-23T10:15:59.{places}Z")
    message, other = binary(event), structured(event | {"data": event["data"] | {"quantity": "01"}})

    assert message.value is not None
    assert other.value is not None
    assert parsed(json.dumps(event).encode()) == parsed(message.value, *message.headers) == parsed(other.value)


def test_whatever_both_decoders_take_means_the_same() -> None:
    check_decoders(500)


def test_what_was_right_in_one_place_is_not_taken_for_right_in_another() -> None:
    for _ in range(2):  # the first time it is looked at, the second time it may be remembered
        assert parsed(EVENT_BYTES) == RIGHT
        assert refused(EVENT | {"subject": EVENT["source"]})[0] == "wrong_shape"
        parsed(json.dumps(reported("team_1", "a", tier="low res")).encode())
        assert refused(EVENT | {"subject": "low res"})[0] == "wrong_shape"
        assert refused(EVENT | {"source": "low res"})[0] == "wrong_shape"


def test_what_strangers_send_does_not_fill_the_memory() -> None:
    remembered = (usage._names, usage._ids, usage._sources)
    for texts in remembered:
        texts.clear()
        texts.update(f"earlier_{number}" for number in range(usage._REMEMBERED_MAX - 10))
    for number in range(30):
        parsed(json.dumps(reported(f"team_{number}", "a", tier=f"t{number}", source=f"/features/{number}")).encode())
        assert max(map(len, remembered)) <= usage._REMEMBERED_MAX

    assert all(0 < len(texts) < 100 for texts in remembered), "none was full, or it was not forgotten"
