"""The network's and Stripe's bad days, by script.

A rule names a route (`POST /v1/payment_intents/{id}/confirm`, or `*`), which of its calls it spoils (from the `nth` on,
`times` of them; or one in so many, drawn from a seed) and how:

| do | the program sees | was it done? |
|---|---|---|
| `busy` | 429, Retry-After `seconds` | no |
| `conflict` | 409, the key is in use | no |
| `wrong` | 400, the amount is too small | no |
| `declined` | 402, the card was declined | no |
| `wrong_kept`, `declined_kept` | as these; kept under the key, so asking again gives it again | no |
| `reset_before`, `reset_after` | the connection is reset | no, yes |
| `silence_before`, `silence_after` | nothing, until it gives up | no, yes |
| `gateway_before`, `gateway_after` | 502 with a page of HTML; not kept under the key | no, yes |
| `error_before`, `error_after` | 500; kept under the key, so asking again gives it again | no, yes |
| `hold_before`, `hold_after` | nothing until a script releases it, then the true answer | in between |
| `drip` | the true answer, a byte each `seconds` | yes |
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from .errors import Json

KINDS: Final = frozenset(
    {
        "busy",
        "conflict",
        "declined",
        "declined_kept",
        "drip",
        "wrong",
        "wrong_kept",
        *(
            f"{what}_{when}"
            for what in ("reset", "silence", "gateway", "error", "hold")
            for when in ("before", "after")
        ),
    }
)


@dataclass
class FaultRule:
    """One line of a script; `calls` and `fired` count as it is played."""

    route: str
    do: list[str]
    nth: int = 1
    times: int = 1
    one_in: int | None = None
    seed: int = 0
    seconds: float = 1
    calls: int = 0
    fired: int = 0

    def fires(self) -> str | None:
        """Counts a call, and says what becomes of it."""
        self.calls += 1
        if self.calls < self.nth or self.fired >= self.times:
            return None
        drawn = int.from_bytes(hashlib.sha256(f"{self.seed}:{self.route}:{self.calls}".encode()).digest()[:8], "big")
        if self.one_in is not None and drawn % self.one_in != 0:
            return None
        self.fired += 1
        return self.do[(drawn >> 16) % len(self.do)]


@dataclass(frozen=True)
class Fault:
    """What a rule does to one call."""

    do: str
    seconds: float = 1


@dataclass
class Faults:
    """The script that is being played; the first rule that fires wins, and every rule counts every call."""

    rules: list[FaultRule] = field(default_factory=list)

    def next(self, route: str) -> Fault | None:
        """What becomes of the next call of this route."""
        fired = [(rule.fires(), rule) for rule in self.rules if rule.route in {"*", route}]
        return next((Fault(do, rule.seconds) for do, rule in fired if do is not None), None)

    def add(self, body: Json) -> FaultRule:
        """Raises ValueError in words when the script is wrong."""
        keys = {"route", "do", "nth", "times", "one_in", "seed", "seconds"}
        if set(body) - keys or "route" not in body or "do" not in body:
            message = f"a fault has route and do, and may have {', '.join(sorted(keys - {'route', 'do'}))}"
            raise ValueError(message)
        kinds = body["do"] if isinstance(body["do"], list) else [body["do"]]
        if not kinds or not set(kinds) <= KINDS:
            message = f"do is one or some of {', '.join(sorted(KINDS))}"
            raise ValueError(message)
        rule = FaultRule(**{**body, "do": kinds})
        self.rules.append(rule)
        return rule
