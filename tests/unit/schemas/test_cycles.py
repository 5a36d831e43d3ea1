"""Cycles begin where the anchor's wall clock says, for ever."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cycles import Cycle, UnknownZone, cycle, cycle_at, cycle_start, load_zone, zone_names

ZONES = st.sampled_from(sorted(zone_names()))
ANCHORS = st.datetimes(
    datetime.fromisoformat("2015-01-01"), datetime.fromisoformat("2035-01-01"), timezones=st.just(UTC)
)
KS = st.integers(-60, 240)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@given(ANCHORS, ZONES, KS)
def test_a_cycle_ends_when_the_next_begins_and_time_only_goes_forward(anchor: datetime, zone: str, k: int) -> None:
    this, following = cycle(anchor, zone, k), cycle(anchor, zone, k + 1)

    assert this.ends_at == following.starts_at
    assert this.starts_at < this.ends_at
    assert timedelta(days=27) < this.ends_at - this.starts_at < timedelta(days=33)


@given(ANCHORS, ZONES, st.timedeltas(timedelta(days=-4000), timedelta(days=4000)))
def test_every_instant_lies_in_exactly_one_cycle(anchor: datetime, zone: str, later: timedelta) -> None:
    k = cycle_at(anchor, zone, anchor + later)

    assert cycle_start(anchor, zone, k) <= anchor + later < cycle_start(anchor, zone, k + 1)


@given(ANCHORS, ZONES, KS)
def test_a_cycle_begins_inclusive_and_ends_exclusive(anchor: datetime, zone: str, k: int) -> None:
    this = cycle(anchor, zone, k)

    assert cycle_at(anchor, zone, this.starts_at) == k
    assert cycle_at(anchor, zone, this.ends_at - timedelta(microseconds=1)) == k
    assert cycle_at(anchor, zone, this.ends_at) == k + 1


@given(ANCHORS, ZONES, KS)
def test_a_cycle_begins_at_the_anchors_wall_time_unless_the_clock_skips_it(anchor: datetime, zone: str, k: int) -> None:
    first = anchor.astimezone(load_zone(zone))
    start = cycle_start(anchor, zone, k)
    local = start.astimezone(load_zone(zone))

    if local.time() == first.time():
        assert local.day == first.day or (local.day < first.day and (local + timedelta(days=1)).day == 1)
    else:  # the instant before was on the other side of the gap
        just_before = (start - timedelta(microseconds=1)).astimezone(load_zone(zone))
        assert local.utcoffset() != just_before.utcoffset()
        assert just_before.time() < first.time() or just_before.date() < local.date()


@given(ANCHORS, ZONES, KS.filter(bool))
def test_where_a_wall_time_comes_twice_the_cycle_begins_at_its_first(anchor: datetime, zone: str, k: int) -> None:
    assert cycle_start(anchor, zone, k).astimezone(load_zone(zone)).fold == 0


@given(ANCHORS, ZONES)
def test_the_first_cycle_begins_at_the_anchor_itself(anchor: datetime, zone: str) -> None:
    assert cycle_start(anchor, zone, 0) == anchor
    assert cycle_start(anchor, zone, 0).tzinfo is UTC


def test_the_31st_becomes_the_28th_in_february_and_the_31st_again_in_march() -> None:
    starts = [cycle_start(utc("2027-01-31T10:00:00Z"), "UTC", k) for k in range(6)]

    assert [(start.month, start.day) for start in starts] == [(1, 31), (2, 28), (3, 31), (4, 30), (5, 31), (6, 30)]


@pytest.mark.parametrize(("day", "february"), [(28, 28), (29, 28), (30, 28), (31, 28)])
def test_every_late_day_is_clamped_and_restored(day: int, february: int) -> None:
    anchor = datetime(2027, 1, day, 23, 59, 59, 999_999, UTC)

    assert cycle_start(anchor, "UTC", 1) == datetime(2027, 2, february, 23, 59, 59, 999_999, UTC)
    assert cycle_start(anchor, "UTC", 2) == datetime(2027, 3, day, 23, 59, 59, 999_999, UTC)


def test_an_anchor_on_29_february_stays_on_the_29th_wherever_there_is_one() -> None:
    anchor = utc("2028-02-29T00:00:00Z")

    assert cycle_start(anchor, "UTC", 1) == utc("2028-03-29T00:00:00Z")
    assert cycle_start(anchor, "UTC", 12) == utc("2029-02-28T00:00:00Z")
    assert cycle_start(anchor, "UTC", 48) == utc("2032-02-29T00:00:00Z")


def test_the_day_is_that_of_the_teams_own_clock() -> None:
    anchor = utc("2026-01-31T23:30:00Z")  # already 1 February in Berlin

    assert cycle_start(anchor, "Europe/Berlin", 1) == utc("2026-02-28T23:30:00Z")
    assert cycle_start(anchor, "UTC", 1) == utc("2026-02-28T23:30:00Z")
    assert cycle_start(anchor, "Europe/Berlin", 2) == utc("2026-03-31T22:30:00Z")
    assert cycle_start(anchor, "UTC", 2) == utc("2026-03-31T23:30:00Z")


def test_a_time_that_the_clock_skips_becomes_the_first_instant_after_the_gap() -> None:
    berlin = utc("2026-01-29T02:30:15+01:00")  # on 29 March 2026 the clock goes from 2 to 3
    lord_howe = utc("2026-09-04T02:10:00+10:30")  # on 4 October 2026 from 2:00 to 2:30

    assert cycle_start(berlin, "Europe/Berlin", 2) == utc("2026-03-29T03:00:00+02:00")
    assert cycle_start(berlin, "Europe/Berlin", 3) == utc("2026-04-29T02:30:15+02:00")
    assert cycle_start(lord_howe, "Australia/Lord_Howe", 1) == utc("2026-10-04T02:30:00+11:00")


def test_a_day_that_never_was_becomes_the_first_instant_after_it() -> None:
    apia = utc("2011-11-30T12:00:00-10:00")  # Samoa went from 29 December 2011 straight to the 31st

    assert cycle_start(apia, "Pacific/Apia", 1) == utc("2011-12-31T00:00:00+14:00")
    assert cycle_at(apia, "Pacific/Apia", utc("2011-12-30T09:59:59Z")) == 0


def test_a_time_that_comes_twice_is_its_first() -> None:
    anchor = utc("2026-09-25T02:30:00+02:00")

    assert cycle_start(anchor, "Europe/Berlin", 1) == utc("2026-10-25T02:30:00+02:00")


def test_an_anchor_in_the_second_of_two_equal_hours_keeps_its_own_instant() -> None:
    anchor = utc("2026-10-25T02:30:00+01:00")

    assert cycle_start(anchor, "Europe/Berlin", 0) == anchor
    assert cycle_at(anchor, "Europe/Berlin", anchor - timedelta(minutes=1)) == -1


def test_an_anchor_that_lies_ahead_leaves_today_in_a_cycle_before_it() -> None:
    anchor = utc("2026-12-15T00:00:00Z")

    assert cycle_at(anchor, "UTC", utc("2026-11-23T00:00:00Z")) == -1
    assert cycle(anchor, "UTC", -1) == Cycle(-1, utc("2026-11-15T00:00:00Z"), anchor)


@pytest.mark.parametrize(
    "zone", ["", "Mars/Base", "../../../etc/passwd", "/etc/passwd", "Europe", "europe/berlin", "Factory"]
)
def test_a_zone_that_does_not_exist_is_named_in_the_error(zone: str) -> None:
    with pytest.raises(UnknownZone) as refused:
        cycle_start(utc("2026-01-01T00:00:00Z"), zone, 1)

    assert repr(zone) in str(refused.value)


def test_a_misspelt_zone_is_answered_by_the_right_one() -> None:
    with pytest.raises(UnknownZone, match="did you mean 'Europe/Berlin'"):
        load_zone("Europe/Berlln")


def test_a_time_without_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="anchor 2026-01-01T00:00:00 needs an offset"):
        cycle_start(datetime.fromisoformat("2026-01-01"), "UTC", 1)
    with pytest.raises(ValueError, match="instant 2026-01-01T00:00:00 needs an offset"):
        cycle_at(utc("2026-01-01T00:00:00Z"), "UTC", datetime.fromisoformat("2026-01-01"))


def test_a_cycle_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the calendar"):
        cycle_start(utc("2026-01-01T00:00:00Z"), "UTC", 100_000)


def test_an_anchor_given_in_another_offset_is_the_same_anchor() -> None:
    anchor = utc("2026-01-31T10:00:00Z")

    assert cycle_start(anchor.astimezone(ZoneInfo("Asia/Tokyo")), "America/New_York", 7) == cycle_start(
        anchor, "America/New_York", 7
    )
