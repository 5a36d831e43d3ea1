"""At the API's door: everybody who may enter does, but nobody too often.

Callers are counted by team, member and role rather than by token, so that a token minted anew changes nothing; and only
once their token was verified, so that inventing names fills no memory. As many requests as a minute (for services, a
second) allows may come at once; they come back evenly, so that whoever is told to wait may go on after just that time
(GCRA).

Who fails to sign in is counted by address, after the failure, and so is, by itself, who sends webhooks that Stripe has
not signed. So a valid token or signature is never refused for what others do at its address, be it a whole company's or
that of a proxy, and a wrong secret for webhooks keeps nobody from signing in.
The proxy's address is what counts, unless CREDITWELL_API_PROXIES trusts the proxy to name its own callers. In return
bad tokens are looked at however many come, at 0.2 ms each.

Everything is counted in the memory of this process, of so many callers at most. Of the library `limits` the storage in
memory goes through everybody it knows at each hit: 0.9 ms at 10,000 callers. This takes 5 µs, however many there are.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil

import prometheus_client
from fastapi_problem.error import Problem
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from throttled import MemoryStore, RateLimiterType, Throttled, per_min, per_sec
from throttled.rate_limiter import Quota

from services.api.problems import problem
from services.api.tokens import Caller, TokenRole
from services.runtime.settings import Settings

# Of each kind. Beyond, whoever has not asked for longest is forgotten, and may ask as if for the first time.
COUNTED_MAX = 10_000
DOWNLOADS_MAX = 4  # of one caller at one process: each is read as fast as it is taken
OPEN_AGAIN_SECONDS = 5  # nobody knows when a stream or a download will end


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often one of a kind may ask, and how that is said."""

    kind: str
    words: str
    throttled: Throttled


class RateLimiter:
    """Counts who asks, and sends away, with the time to come back, who asks too often."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        people, services = settings.api_person_requests_per_minute, settings.api_service_requests_per_second
        failed = settings.api_failed_sign_ins_per_minute
        self._people = _allowance("people", people, per_min, f"one person may ask {people} times a minute")
        self._services = _allowance("services", services, per_sec, f"one service may ask {services} times a second")
        self._addresses = _allowance(
            "addresses", failed, per_min, f"one address may fail to sign in {failed} times a minute"
        )
        forged = settings.api_forged_webhooks_per_minute
        self._webhooks = _allowance(
            "webhooks", forged, per_min, f"one address may send {forged} webhooks a minute that Stripe has not signed"
        )
        self._streams_max = settings.api_streams_per_caller
        self._opened: dict[str, Counter[str]] = {"streams": Counter(), "downloads": Counter()}
        self._sent_away = prometheus_client.Counter(
            "creditwell_http_too_many_requests", "Requests that were answered 429, by which limit", ["limit"],
            registry=registry,
        )  # fmt: skip
        self._open_now = prometheus_client.Gauge(
            "creditwell_http_open", "Streams and downloads that are open", ["kind"], registry=registry
        )

    def let_in(self, caller: Caller) -> None:
        """Count a request of a verified caller.

        Raises:
            Problem: `too_many_requests`.
        """
        self._count(self._services if caller.role is TokenRole.SERVICE else self._people, _name(caller))

    def failed(self, address: str) -> None:
        """Count a request from this address whose sign-in has failed. Raises as `let_in` does."""
        self._count(self._addresses, _neighbourhood(address))

    def forged(self, address: str) -> None:
        """Count a webhook from this address that Stripe has not signed. Raises as `let_in` does."""
        self._count(self._webhooks, _neighbourhood(address))

    def streaming(self, caller: Caller) -> AbstractContextManager[None]:
        """A stream of the caller is open while the block runs. Raises as `let_in` does."""
        return self._open("streams", caller, self._streams_max)

    def downloading(self, caller: Caller) -> AbstractContextManager[None]:
        """The same of a download."""
        return self._open("downloads", caller, DOWNLOADS_MAX)

    @contextmanager
    def _open(self, kind: str, caller: Caller, most: int) -> Iterator[None]:
        opened, name = self._opened[kind], _name(caller)
        if 0 < most <= opened[name]:
            raise self._too_many(kind, f"one caller may have {most} {kind} open at once", OPEN_AGAIN_SECONDS)
        opened[name] += 1
        self._open_now.labels(kind).inc()
        try:
            yield
        finally:
            self._open_now.labels(kind).dec()
            opened[name] -= 1
            if not opened[name]:
                del opened[name]

    def _count(self, allowance: Allowance | None, name: str) -> None:
        if allowance is not None and (outcome := allowance.throttled.limit(name)).limited:
            raise self._too_many(allowance.kind, allowance.words, outcome.state.retry_after)

    def _too_many(self, kind: str, words: str, wait_seconds: float) -> Problem:
        self._sent_away.labels(kind).inc()
        wait = max(1, ceil(wait_seconds))
        detail = f"{words}; ask again in {wait} {'second' if wait == 1 else 'seconds'}"
        return problem(429, "too_many_requests", detail, headers={"retry-after": str(wait)})


def _allowance(kind: str, most: int, per: Callable[[int], Quota], words: str) -> Allowance | None:
    """None where there is no limit."""
    if not most:
        return None
    store = MemoryStore(options={"MAX_SIZE": COUNTED_MAX})
    return Allowance(kind, words, Throttled(using=RateLimiterType.GCRA.value, quota=per(most), store=store))


def address_of(request: Request) -> str:
    """Where a request comes from; nothing where it came through a socket without addresses."""
    return request.client.host if request.client else ""


def _name(caller: Caller) -> str:
    """Neither team nor member has a line break in it, so no two callers share a name."""
    return f"{caller.role}\n{caller.team_id}\n{caller.sub}"


def _neighbourhood(address: str) -> str:
    """Whom an address belongs to: of IPv6, everybody has at least the 2⁶⁴ that share their first half."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "nowhere"  # a socket without addresses, or a proxy that says anything at all
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or int(parsed) >> 64)
    return str(parsed)
