"""What a process says of its health over HTTP: `/healthz`, `/readyz` and `/metrics`.

Beside `health`, so that who is told of a process's health, or has none, loads no web framework.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from platform import python_version

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services import VERSION
from services.runtime.health import Health, kind_of

HALTED_MAX = 100  # named in one answer; `creditwell halted list` has all of them


def health_routes(health: Health) -> list[Route]:
    """`/healthz` and `/readyz`, for whichever application serves them."""

    async def healthz(_: Request) -> Response:
        stuck = health.stuck()
        work = {
            kind: {"lag": work.lag, "seconds_since_progress": round(work.still_seconds(health.now()), 1), "worst": name}
            for kind, (name, work) in health.worst().items()
        }
        held_up = {name: held.why for name, held in health.held_up.items()}
        halted = [
            {"work": work, "name": name, "why": why} for (work, name), why in islice(health.halted.items(), HALTED_MAX)
        ]
        body = {
            "status": "stuck" if stuck else "alive", "process": health.process, "stuck": stuck, "work": work,
            "held_up": held_up, "halted": halted, "notes": health.notes,
        }  # fmt: skip
        return JSONResponse(body, 503 if stuck else 200)

    async def readyz(_: Request) -> Response:
        ready = health.is_ready and not health.absent
        body = {"status": "ready" if ready else "not ready", "process": health.process, "away": health.absent}
        return JSONResponse(body, 200 if ready else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def health_app(health: Health) -> Starlette:
    """What a process serves on its health port."""
    health.registry.register(_Gauges(health))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=health.registry)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(health.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[*health_routes(health), Route("/metrics", metrics)])


class _Gauges(Collector):
    """Lag, progress and readiness, worked out when they are asked for."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        health, now = self._health, self._health.now()
        lag = GaugeMetricFamily(
            "creditwell_lag",
            "How much of this work waits; of a topic, in its worst partition.",
            labels=["process", "work"],
        )
        idle = GaugeMetricFamily(
            "creditwell_progress_age_seconds",
            "For how long work has waited and nothing of it moved; 0 where nothing waits.",
            labels=["process", "work"],
        )
        for kind, (_, work) in health.worst().items():
            lag.add_metric([health.process, kind], work.lag)
            idle.add_metric([health.process, kind], work.still_seconds(now))
        ready = GaugeMetricFamily("creditwell_ready", "1 while the process can do its work.", labels=["process"])
        ready.add_metric([health.process], int(health.is_ready and not health.absent))
        stuck = GaugeMetricFamily("creditwell_stuck", "How many kinds of work are stuck.", labels=["process"])
        stuck.add_metric([health.process], len(health.stuck()))
        held_up = GaugeMetricFamily(
            "creditwell_held_up_seconds",
            "For how long this work has waited for somebody else.",
            labels=["process", "work"],
        )
        since: dict[str, float] = {}
        for name, held in health.held_up.items():
            since[kind_of(name)] = min(held.since, since.get(kind_of(name), now))
        for kind, at in since.items():
            held_up.add_metric([health.process, kind], now - at)
        halted = GaugeMetricFamily(
            "creditwell_halted", "How often this work is halted for one alone; see `creditwell halted list`.",
            labels=["process", "work"],
        )  # fmt: skip
        for name, count in Counter(work for work, _ in health.halted).items():
            halted.add_metric([health.process, name], count)
        build = GaugeMetricFamily(
            "creditwell_build_info", "Always 1; which build this is.", labels=["process", "version", "python"]
        )
        build.add_metric([health.process, VERSION, python_version()], 1)
        yield from (lag, idle, ready, stuck, held_up, halted, build)
