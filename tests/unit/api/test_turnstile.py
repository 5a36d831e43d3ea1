"""The turnstile by itself: what counts as one, what no limit is, and that it does not grow."""

from collections.abc import Iterator

import pytest
from fastapi_problem.error import Problem
from prometheus_client import CollectorRegistry

from services.api.rate_limits import COUNTED_MAX, RateLimiter
from services.api.tokens import Caller, TokenRole
from services.runtime.clock import system_clock
from services.runtime.settings_loading import load_settings
from tests.support.limits import LimitsClock, limits_clock


@pytest.fixture(autouse=True)
def clock() -> Iterator[LimitsClock]:
    with limits_clock() as clock:
        yield clock


def a_turnstile(*, people: int = 1, services: int = 1, failed: int = 1, streams: int = 1) -> RateLimiter:
    settings = load_settings(
        api_person_requests_per_minute=people, api_service_requests_per_second=services,
        api_failed_sign_ins_per_minute=failed, api_streams_per_caller=streams,
    )  # fmt: skip
    return RateLimiter(settings, CollectorRegistry())


def a_caller(sub: str = "mem_1", role: TokenRole = TokenRole.MEMBER) -> Caller:
    return Caller("team_1", sub, role, (), system_clock())


def is_let_in(turnstile: RateLimiter, caller: Caller) -> bool:
    try:
        turnstile.let_in(caller)
    except Problem:
        return False
    return True


def may_fail(turnstile: RateLimiter, address: str) -> bool:
    try:
        turnstile.failed(address)
    except Problem:
        return False
    return True


def test_zero_is_no_limit() -> None:
    turnstile = a_turnstile(people=0, services=0, failed=0, streams=0)

    for _ in range(2_000):
        turnstile.let_in(a_caller())
        turnstile.let_in(a_caller(role=TokenRole.SERVICE))
        turnstile.failed("203.0.113.9")
    with turnstile.streaming(a_caller()), turnstile.streaming(a_caller()):
        pass


def test_who_comes_back_when_told_to_is_let_in_and_not_a_second_before(clock: LimitsClock) -> None:
    turnstile = a_turnstile(people=7)
    for _ in range(7):
        turnstile.let_in(a_caller())
    with pytest.raises(Problem) as sent_away:
        turnstile.let_in(a_caller())

    assert (sent_away.value.headers or {})["retry-after"] == "9", "a seventh of a minute, in whole seconds"
    clock.pass_by(8)
    assert not is_let_in(turnstile, a_caller())
    clock.pass_by(1)
    assert is_let_in(turnstile, a_caller())
    assert not is_let_in(turnstile, a_caller()), "one came back, not seven"
    clock.pass_by(60)
    assert [is_let_in(turnstile, a_caller()) for _ in range(8)] == [True] * 7 + [False]


def test_memory_is_bounded_and_whoever_has_not_asked_for_longest_is_forgotten() -> None:
    turnstile = a_turnstile()
    assert is_let_in(turnstile, a_caller("first"))
    assert not is_let_in(turnstile, a_caller("first"))

    for number in range(COUNTED_MAX):
        assert is_let_in(turnstile, a_caller(f"mem_{number}"))

    assert not is_let_in(turnstile, a_caller("mem_0"))
    assert is_let_in(turnstile, a_caller("first"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.9", "203.0.113.9", True), ("203.0.113.9", "203.0.113.10", False), ("203.0.113.9", "::ffff:203.0.113.9", True),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.10", False), ("2001:db8:1:2::1", "2001:db8:1:2:ffff::7", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False), ("anything", "else", True), ("", "anything", True), ("fe80::1%eth0", "fe80::2", True),
    ],
)  # fmt: skip
def test_an_address_of_ipv6_is_the_network_that_somebody_has(one: str, other: str, same: bool) -> None:
    turnstile = a_turnstile()

    assert may_fail(turnstile, one)
    assert may_fail(turnstile, other) is not same


def test_a_stream_that_fails_is_no_longer_open() -> None:
    turnstile = a_turnstile()

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turnstile.streaming(a_caller()):
            raise ZeroDivisionError

    with turnstile.streaming(a_caller()), pytest.raises(Problem), turnstile.streaming(a_caller()):
        raise AssertionError("this is one too many")
