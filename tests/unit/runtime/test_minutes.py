"""Once a minute a process says what it did meanwhile, in one line."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from services.runtime.health import Health
from services.runtime.minutes import counted, gained, standing


def test_a_minute_is_what_the_counters_have_gained_in_it() -> None:
    registry = CollectorRegistry()
    records = Counter("creditwell_usage_records", "", ["outcome"], registry=registry)
    requests = Histogram("creditwell_http_seconds", "", ["route", "status"], registry=registry)
    Counter("somebody_elses", "", registry=registry).inc()
    records.labels("recorded").inc(5)
    records.labels("refused").inc()
    before = counted(registry)

    records.labels("recorded").inc(7)
    requests.labels("/v1/usage", "200").observe(0.01)
    requests.labels("/v1/usage", "503").observe(0.01)

    assert gained(before, counted(registry)) == {"usage_records.recorded": 7, "http_seconds": 2}


def test_what_waits_and_who_is_away_is_said_where_there_is_any() -> None:
    health = Health("recorder")
    health.lag("usage-3", 0)
    assert standing(health) == {}

    health.lag("usage-3", 12)
    health.halt("sealing", "team_1", "why")
    health.away("Kafka", OSError())

    assert standing(health) == {"waiting": {"usage": 12}, "away": ["Kafka"], "halted": 1}
