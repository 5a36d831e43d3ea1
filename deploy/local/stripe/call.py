"""One request to the stand-in, as the endpoints see it, and what they all do: list, page, expand."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from .books import Books, shown
from .errors import Json, StripeError, invalid
from .forms import MAP, RANGE, Spec

PAGE: Final[dict[str, Spec]] = {
    "limit": int,
    "starting_after": str,
    "ending_before": str,
    "expand": [str],
}
CREATED: Final[dict[str, Spec]] = {"created": RANGE}
METADATA: Final[dict[str, Spec]] = {"metadata": MAP}
EXPAND: Final[dict[str, Spec]] = {"expand": [str]}

# Members that an object has only once there is something to say; they may be expanded all the same.
ABSENT_AT_FIRST: Final = frozenset({"failure_balance_transaction"})
LIMIT_DEFAULT, LIMIT_MAX, EXPAND_DEPTH_MAX = 10, 100, 4

KIND_BY_PREFIX: Final = {
    "ch": "charge",
    "cs": "checkout.session",
    "cus": "customer",
    "du": "dispute",
    "pi": "payment_intent",
    "pm": "payment_method",
    "po": "payout",
    "re": "refund",
    "seti": "setup_intent",
    "txn": "balance_transaction",
}


@dataclass(frozen=True)
class Call:
    """Parameters that were checked already, the path's ids, and the address at which the caller reached us."""

    books: Books
    params: Json
    base_url: str
    id: str = ""

    @property
    def now(self) -> int:
        """Unix seconds by the stand-in's clock."""
        return self.books.clock.now()


@dataclass(frozen=True)
class Endpoint:
    """One line of the API: what it accepts, what it needs, and the function that does it."""

    method: str
    path: str
    handle: Callable[[Call], Json]
    spec: dict[str, Spec]
    needs: tuple[str, ...] = ()


def matching(call: Call, kind: str, names: Iterable[str]) -> list[Json]:
    """The objects of a kind, newest first, which have what the parameters of these names ask for."""
    criteria = {name: call.params[name] for name in names if name in call.params}
    return [one for one in call.books.newest_first(kind) if all(one[name] == text for name, text in criteria.items())]


def listing(call: Call, objects: Iterable[Json], *, url: str) -> Json:
    """A page of `objects`, which comes newest first, between the created bounds and after the object that is named."""
    bounds = call.params.get("created", {})
    rows = [row for row in objects if _within(row["created"], bounds)]
    rows, limit = _after_cursor(call, rows), call.params.get("limit", LIMIT_DEFAULT)
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid(
            "limit",
            f"Invalid integer: limit must be between 1 and {LIMIT_MAX}",
            "parameter_invalid_integer",
        )
    backwards = "ending_before" in call.params
    page = rows[-limit:] if backwards else rows[:limit]
    return {"object": "list", "url": url, "data": page, "has_more": len(rows) > limit}


def _after_cursor(call: Call, rows: list[Json]) -> list[Json]:
    for param in ("starting_after", "ending_before"):
        cursor = call.params.get(param)
        if cursor is None:
            continue
        place = next((place for place, row in enumerate(rows) if row["id"] == cursor), None)
        if place is None:
            raise StripeError(400, f"No such object: '{cursor}'", code="resource_missing", param=param)
        return rows[place + 1 :] if param == "starting_after" else rows[:place]
    return rows


def _within(moment: int, bounds: Json) -> bool:
    lowest = max(bounds.get("gte", moment), bounds.get("gt", moment - 1) + 1)
    highest = min(bounds.get("lte", moment), bounds.get("lt", moment + 1) - 1)
    return bool(lowest <= moment <= highest)


def expanded(call: Call, body: Json) -> Json:
    """The answer with the objects in the place of their ids that the caller asked for by `expand[]`."""
    answer: Json = shown(body)
    for path in call.params.get("expand", []):
        steps = path.split(".")
        if len(steps) > EXPAND_DEPTH_MAX:
            raise invalid(
                "expand",
                f"You cannot expand more than {EXPAND_DEPTH_MAX} levels of a property: {path}",
            )
        _expand(call.books, answer, steps, path)
    return answer


def _expand(books: Books, body: Any, steps: list[str], path: str) -> None:
    if isinstance(body, list):
        for part in body:
            _expand(books, part, steps, path)
        return
    if body is None:
        return
    step, rest = steps[0], steps[1:]
    if isinstance(body, dict) and step in ABSENT_AT_FIRST and step not in body:
        return
    if not isinstance(body, dict) or step not in body:
        raise invalid("expand", f"This property cannot be expanded ({path}).")
    value = body[step]
    if isinstance(value, str):
        kind = KIND_BY_PREFIX.get(value.split("_", 1)[0])
        if kind is None:
            raise invalid("expand", f"This property cannot be expanded ({path}).")
        body[step] = shown(books.get(kind, value))
    if rest:
        _expand(books, body[step], rest, path)
