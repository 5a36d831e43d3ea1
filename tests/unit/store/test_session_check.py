"""What a session must be, told from the settings that are in force."""

import asyncpg
import pytest

from services.runtime.settings import WrongSettings
from services.store.sessions.hosts import Hosts, check_url, hosts_of, raise_if_wrong
from services.store.sessions.session_check import wrong_settings

OPENED_WITH = {
    "statement_timeout": "30000",
    "lock_timeout": "15000",
    "idle_in_transaction_session_timeout": "5000",
}
RIGHT = {
    **OPENED_WITH, "default_transaction_isolation": "read committed", "session_replication_role": "origin",
    "standard_conforming_strings": "on", "server_encoding": "UTF8", "client_encoding": "UTF8", "TimeZone": "UTC",
    "synchronous_commit": "on", "server_version_num": "180006",
}  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("idle_in_transaction_session_timeout", "5001"),
        ("default_transaction_isolation", "repeatable read"),
        ("session_replication_role", "replica"),
        ("standard_conforming_strings", "off"),
        ("server_encoding", "LATIN1"),
        ("TimeZone", "Europe/Berlin"),
        ("synchronous_commit", "off"),
        ("server_version_num", "140012"),
    ],
)
def test_whatever_our_promises_rest_on_is_named_when_it_is_not_so(setting: str, value: str) -> None:
    (sentence,) = wrong_settings(RIGHT | {setting: value}, OPENED_WITH)

    assert sentence.startswith(f"{setting} is {value}")


def test_a_session_that_gives_up_sooner_is_right_and_one_without_limits_need_have_none() -> None:
    assert (
        wrong_settings(RIGHT | {"statement_timeout": "10000", "synchronous_commit": "remote_apply"}, OPENED_WITH) == []
    )
    assert wrong_settings(RIGHT | dict.fromkeys(OPENED_WITH, "0"), {"statement_timeout": "0"}) == []


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u:p@db:5433/x", [("db", 5433)]),
        ("postgresql://u:p@a:1,b,[::1]:2/x", [("a", 1), ("b", 5432), ("::1", 2)]),
        ("postgresql://u@/x?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql://u@/x?host=a,b&port=7", [("a", 7), ("b", 7)]),
        ("postgresql://u@%2Frun%2Fpostgresql/x", [("/run/postgresql", 5432)]),
        ("postgresql:///x", []),
    ],
)
def test_each_host_of_a_url_is_known_with_its_port(url: str, hosts: list[tuple[str, int]]) -> None:
    assert hosts_of(url) == hosts


def test_a_port_that_is_no_number_is_wrong() -> None:
    with pytest.raises(WrongSettings, match="port"):
        Hosts("postgresql://u@db:five/x")


def test_of_two_parameters_that_are_not_ours_both_are_named() -> None:
    with pytest.raises(WrongSettings) as wrong:
        check_url("postgresql://u@db/x?schema=public&channel_binding=require")

    assert len(wrong.value.sentences) == 2


@pytest.mark.parametrize("outage", ["query_wait_timeout", "server login has been failing, cached error: timeout"])
def test_a_pooler_that_waits_for_its_server_is_an_outage_and_no_wrong_setting(outage: str) -> None:
    raise_if_wrong(asyncpg.ProtocolViolationError(outage))


def test_a_setting_that_a_pooler_does_not_let_pass_is_named() -> None:
    with pytest.raises(WrongSettings, match="unsupported startup parameter: jit"):
        raise_if_wrong(asyncpg.ProtocolViolationError("unsupported startup parameter: jit"))
