"""The notices that the host product gets, as OpenAPI's webhooks: nothing is served here, it is only described."""

from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI, Header

from schemas.notices import HEADERS, NOTICES, Notice


def describe_notices(app: FastAPI) -> None:
    """Put every notice into the document, under its type."""
    for name, notice in NOTICES.items():
        app.webhooks.add_api_route(
            name, _taking(notice), methods=["POST"], status_code=204, name=name,
            summary=(notice.__doc__ or name).splitlines()[0],
            response_description="It is taken. Whatever is not 2xx is tried again for three days; 410 ends it.",
        )  # fmt: skip


def _taking(notice: type[Notice]) -> Callable[..., None]:
    """What a host implements for this notice."""

    def take(
        body: Notice,
        webhook_id: Annotated[str, Header(description=HEADERS["webhook-id"])],
        webhook_timestamp: Annotated[int, Header(description=HEADERS["webhook-timestamp"])],
        webhook_signature: Annotated[str, Header(description=HEADERS["webhook-signature"])],
    ) -> None:
        """The host's part."""

    take.__annotations__["body"] = notice
    return take
