"""An instant and a place in the log have one spelling each, wherever they are read."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.facts import HoldReleased, Stored
from schemas.instants import YEARS, GivenInstant, instant
from schemas.places import Place, place_of
from services.publishing.batches import cloud_event

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=OFFSETS | st.just(UTC))  # noqa: DTZ001


@given(INSTANTS)
def test_an_instant_is_rfc_3339_in_utc_with_microseconds_and_nothing_is_lost(at: datetime) -> None:
    text = instant(at)

    assert (len(text), text[10], text[19], text[-1]) == (27, "T", ".", "Z")
    assert datetime.fromisoformat(text) == at


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2026, 11, 23, 10, 15, 30, tzinfo=UTC), "2026-11-23T10:15:30.000000Z"),
        (datetime(2026, 11, 23, 10, 15, 30, 45, tzinfo=timezone(timedelta(hours=2))), "2026-11-23T08:15:30.000045Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_every_instant_has_27_characters(at: datetime, text: str) -> None:
    assert instant(at) == text


def test_a_fact_goes_out_with_both_of_its_times() -> None:
    fact = HoldReleased(hold_id="h")
    occurred, recorded = (datetime(2026, 11, 23, 10, 15, second, tzinfo=UTC) for second in (29, 30))

    sent = cloud_event(Stored(31, 7, recorded, occurred, 'te"am', "/a", "1", fact.type, fact.body()))

    assert sent == (
        b'{"specversion":"1.0","id":"1","source":"/a","type":"hold.released.v1","subject":"te\\"am",'
        b'"time":"2026-11-23T10:15:29.000000Z","datacontenttype":"application/json","shard":31,"position":7,'
        b'"recordedat":"2026-11-23T10:15:30.000000Z","data":{"hold_id":"h"}}'
    )


@given(st.integers(0, 63), st.integers(0, 2**63 - 1))
def test_a_place_is_read_as_it_was_written(shard: int, position: int) -> None:
    place = Place(shard, position)

    assert str(place) == f"{shard}:{position}"
    assert place_of(str(place)) == place


@pytest.mark.parametrize(
    "text",
    ["", "31", "31:", ":7", "31:7:0", "a:b", "-1:7", "31:+7", "31:1_0", "31:\uff17", "131:7", f"31:{2**63}", "31:7\n"],
)
def test_what_names_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no place"):
        place_of(text)


@pytest.mark.parametrize(
    "text",
    ["0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", "9991-01-01T00:00:00Z", "9999-12-31T23:59:59.999999-14:00"],
)
def test_an_instant_that_no_calendar_of_ours_has_is_given_back_in_words(text: str) -> None:
    with pytest.raises(ValidationError, match="can't be meant"):
        TypeAdapter(GivenInstant).validate_json(f'"{text}"')


@pytest.mark.parametrize("number", ["0.5", '"0.5"', "1795428930", '"1795428930"', '"1e9"'])
def test_a_number_is_no_instant(number: str) -> None:
    with pytest.raises(ValidationError, match="is a number: write an instant"):
        TypeAdapter(GivenInstant).validate_json(number)


@given(st.integers(0, 9999))
def test_the_years_of_the_schema_are_those_that_are_taken(year: int) -> None:
    schema = TypeAdapter(GivenInstant).json_schema()

    assert bool(re.search(schema["pattern"], f"{year:04}-01-01T00:00:00Z")) == (YEARS[0] <= year <= YEARS[1])


def test_an_instant_that_is_given_in_another_offset_is_the_same_in_utc() -> None:
    given = TypeAdapter(GivenInstant).validate_json('"9990-12-31T23:59:59-14:00"')

    assert instant(given) == "9991-01-01T13:59:59.000000Z"
