"""What was used, added up by feature, by member, by day, or by the values of an attribute."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Literal, NamedTuple

from projections.usage import UsageRow
from projections.usage_by_attribute import AttributeRow
from schemas.credits import MicroCredits, format_credits
from schemas.pricing import CompiledCard
from services.api.answers import Json

By = Literal["feature", "member", "day", "attribute"]


class DayOfUse(NamedTuple):
    """What a member used of a feature on a day; with which value of the attribute that was asked for."""

    day: date
    feature: str
    member_id: str
    credits: MicroCredits
    uses: int
    value: str | None = None  # none was asked for; "" is usage that does not name it


def by_feature(rows: Iterable[UsageRow]) -> Iterator[DayOfUse]:
    """All usage."""
    for row in rows:
        yield DayOfUse(row.day, row.feature, row.member_id, row.credits, row.uses)


def by_value(rows: Iterable[UsageRow], attributed: Iterable[AttributeRow]) -> Iterator[DayOfUse]:
    """All usage by the values of one attribute: what names none is what the others leave."""
    for row in rows:
        yield DayOfUse(row.day, row.feature, row.member_id, row.credits, row.uses, "")
    for use in attributed:
        yield DayOfUse(use.day, use.feature, use.member_id, use.credits, use.uses, use.value)
        yield DayOfUse(use.day, use.feature, use.member_id, -use.credits, -use.uses, "")


def add_up(used: Iterable[DayOfUse], by: By, card: CompiledCard) -> list[Json]:
    """The sums, the largest first; days in their order. Each with its features, members and values."""
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    features: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    members: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    values: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for use in used:
        key = _key_of(use, by)
        for total in (sums[key], *([] if use.value is None else [values[key][use.value]])):
            total[0] += use.credits
            total[1] += use.uses
        features[key][use.feature] += use.credits
        members[key][use.member_id] += use.credits
    ordered = sorted(sums, key=(lambda key: key) if by == "day" else (lambda key: (-sums[key][0], key)))
    return [
        {**_named(by, key, card), "credits": format_credits(sums[key][0]), "uses": sums[key][1],
         "features": _shown(features[key]), "members": _shown(members[key]),
         "values": _shown({value: total[0] for value, total in values[key].items() if any(total)})}
        for key in ordered if by != "attribute" or any(sums[key])
    ]  # fmt: skip


def _key_of(use: DayOfUse, by: By) -> str:
    match by:
        case "feature":
            return use.feature
        case "member":
            return use.member_id
        case "day":
            return str(use.day)
        case "attribute":
            return use.value or ""


def _shown(sums: Mapping[str, int]) -> dict[str, str]:
    return {name: format_credits(credits) for name, credits in sorted(sums.items())}


def _named(by: By, key: str, card: CompiledCard) -> Json:
    match by:
        case "feature":
            feature = card.features.get(key)
            return {"feature": key, "name": feature.feature.name if feature else key}
        case "member":
            return {"member_id": key or None}
        case "day":
            return {"day": key}
        case "attribute":
            return {"value": key or None}
