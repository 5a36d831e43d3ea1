"""Waiting for what is away: longer each time, never for ever after, shorter by chance, and not past a stop."""

import asyncio
from dataclasses import dataclass, field

import pytest

from services.runtime.health import Health
from services.runtime.retry import FIRST_SECONDS, LONG_SECONDS, MOST_SECONDS, Retry, keep_going, until_answered

AWAY = (OSError,)


@dataclass
class Time:
    """A clock that only waiting and working move, and what was waited."""

    now: float = 0.0
    waited: list[float] = field(default_factory=list)

    async def wait(self, _: asyncio.Event, seconds: float) -> None:
        """Time goes by."""
        self.waited.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def health(time: Time) -> Health:
    return Health("probe", now=lambda: time.now)


def retry_by(time: Time, health: Health | None = None, *, chance: float = 0.0) -> Retry:
    return Retry("the world", AWAY, health=health, now=lambda: time.now, chance=lambda: chance, wait=time.wait)


async def fail(retry: Retry, time: Time, *, times: int = 1, after_seconds: float = 0.0) -> None:
    for _ in range(times):
        async with retry:
            time.now += after_seconds
            raise OSError


async def test_each_wait_is_twice_as_long_as_the_one_before_up_to_the_longest(time: Time) -> None:
    await fail(retry_by(time), time, times=2_000)

    assert time.waited[:4] == [FIRST_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert set(time.waited[10:]) == {MOST_SECONDS}


async def test_chance_takes_up_to_half_of_a_wait(time: Time) -> None:
    await fail(retry_by(time, chance=1.0), time)

    assert time.waited == [FIRST_SECONDS / 2]


async def test_the_waits_begin_anew_after_a_success(time: Time) -> None:
    retry = retry_by(time)
    await fail(retry, time, times=5)
    async with retry:
        pass
    await fail(retry, time)

    assert time.waited[-1] == FIRST_SECONDS


async def test_the_waits_begin_anew_after_long_work_that_failed_at_last(time: Time) -> None:
    retry = retry_by(time)
    await fail(retry, time, times=5)
    await fail(retry, time, after_seconds=LONG_SECONDS + 1)

    assert time.waited[-1] == FIRST_SECONDS


async def test_they_do_not_begin_anew_for_what_fails_again_and_again_after_some_seconds(time: Time) -> None:
    await fail(retry_by(time), time, times=5, after_seconds=LONG_SECONDS / 2)

    assert time.waited[-1] == FIRST_SECONDS * 16


async def test_health_knows_what_is_away_and_when_it_is_back(time: Time, health: Health) -> None:
    retry = retry_by(time, health)
    await fail(retry, time)
    assert list(health.absent) == ["the world"]

    async with retry:
        pass
    assert not health.absent


async def test_what_does_not_mean_away_is_raised_and_not_waited_for(time: Time, health: Health) -> None:
    with pytest.raises(ZeroDivisionError):
        async with retry_by(time, health):
            raise ZeroDivisionError

    assert not time.waited
    assert not health.absent


async def test_a_stop_ends_the_wait() -> None:
    stop, health, tries = asyncio.Event(), Health("probe"), 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        asyncio.get_running_loop().call_soon(stop.set)
        raise OSError

    await asyncio.wait_for(keep_going("the world", work, stop, health, away=AWAY, first_seconds=3_600.0), 60)

    assert tries == 1


async def test_work_goes_on_until_it_returns() -> None:
    health, outcomes = Health("probe"), [OSError, OSError, None]

    async def work() -> None:
        if (error := outcomes.pop(0)) is not None:
            raise error

    await keep_going("the world", work, asyncio.Event(), health, away=AWAY)

    assert not outcomes
    assert not health.absent


async def test_a_question_is_asked_until_there_is_an_answer() -> None:
    answers = ["42"]

    async def ask() -> str:
        if answers:
            answers.pop()
            raise OSError
        return "42"

    assert await until_answered("the world", ask, Health("probe"), away=AWAY) == "42"
