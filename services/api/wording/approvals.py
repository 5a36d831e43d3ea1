"""What waits for another person, and what came of it, as the API says it."""

from schemas.credits import format_credits
from schemas.facts import AdjustmentRequested
from schemas.instants import instant
from schemas.places import Place
from services.api.wording.values import Json, instant_or_none
from services.credits.approvals import RequestRow, RequestState


def request_answer(request_id: str, request: AdjustmentRequested, state: RequestState, place: Place) -> Json:
    """A request that was just made or decided, by the fact at this place."""
    return {
        "id": request_id, "state": state.value, "kind": request.kind, "credits": format_credits(request.credits),
        "waits_until": instant(request.waits_until), "position": str(place),
        "entry": f"{place}:0" if state is RequestState.APPROVED else None,
    }  # fmt: skip


def request_item(row: RequestRow) -> Json:
    """A request of the list: who asked for what and why, and who decided."""
    request, place = row.request, row.ended or row.place
    usage = None if request.usage_position is None else f"{Place(row.place.shard, request.usage_position)}:0"
    return {
        **request_answer(row.request_id, request, row.state, place),
        "reason": request.reason, "requested_by": request.requested_by, "requested_at": instant(row.requested_at),
        "refers_to": request.refers_to, "expires_at": instant_or_none(request.expires_at), "corrects": usage,
        "quantity": request.quantity, "quantities": request.quantities,
        "ended_by": row.ended_by, "ended_at": instant_or_none(row.ended_at),
    }  # fmt: skip
