"""What waits for another person, and what came of it, as the API says it."""

from collections.abc import Mapping

from schemas.credits import format_credits
from schemas.facts import AdjustmentRequested
from schemas.instants import instant, instant_or_none
from schemas.places import Place
from services.api.wording.values import Json
from services.credits.approvals import RequestRow, RequestState


def request_answer(
    request_id: str, request: AdjustmentRequested, state: RequestState, place: Place, entry: str | None = None
) -> Json:
    """A request that was just made or decided, by the fact at this place; `entry` is what came of it."""
    return {
        "id": request_id, "state": state.value, "kind": request.kind, "credits": format_credits(request.credits),
        "waits_until": instant(request.waits_until), "position": str(place),
        "entry": entry,
    }  # fmt: skip


def entries_of(row: RequestRow) -> tuple[int | None, int | None]:
    """The positions of what came of a request, and of the usage that it corrects."""
    approved = row.ended if row.state is RequestState.APPROVED else None
    return approved and approved.position, row.request.usage_position


def request_item(row: RequestRow, ids: Mapping[int, str]) -> Json:
    """A request of the list: who asked for what and why, and who decided. `ids` names the entries of positions."""
    request, place = row.request, row.ended or row.place
    entry, usage = (None if position is None else ids[position] for position in entries_of(row))
    return {
        **request_answer(row.request_id, request, row.state, place, entry),
        "reason": request.reason, "requested_by": request.requested_by, "requested_at": instant(row.requested_at),
        "refers_to": request.refers_to, "expires_at": instant_or_none(request.expires_at), "corrects": usage,
        "quantity": request.quantity, "quantities": request.quantities,
        "ended_by": row.ended_by, "ended_at": instant_or_none(row.ended_at),
    }  # fmt: skip
