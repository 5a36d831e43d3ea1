"""Credits set aside while a block runs.

    about_2000_tokens = [{"feature": "ai_chat.answer", "quantity": "2000"}]
    async with credits.hold(team="team_42", member="mem_7", items=about_2000_tokens) as hold:
        answer = await model(...)
        hold.used(quantity=answer.usage.total_tokens)

Entering places the hold: `NotAllowed` says that the team may not do the work. While the block runs the hold is made
longer. At its end what was used is captured and the rest is free again; a block that used nothing, or failed before it
used anything, costs nothing. What was used before a failure was used, and is captured.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from . import requests
from .bodies import Captured
from .calls import ApiCall, Item
from .errors import ApiError, CreditwellError, NoAnswer
from .settling import Settlement, drive, drive_async, settle

if TYPE_CHECKING:
    from .clients import AsyncClient, Client

Quantity = str | int | Decimal
_IS_QUANTITY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII).fullmatch
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """What a block is about to do."""

    team: str
    items: Sequence[Item]
    member: str | None
    ttl: int


class Block:
    """What both kinds of hold share.

    Attributes:
        id: of the hold, once it is placed.
        credits: what is set aside, a decimal text.
        captured: what the API answered when the work was captured.
        before_end: is called when the block ends, while `used` is still heard: open streams say what they know.
    """

    def __init__(self, work: PlannedBlock) -> None:
        self.work = work
        self.id, self.credits = "", "0"
        self.captured: Captured | None = None
        self._key = str(uuid4())
        self._used: list[dict[str, Any]] = []
        self._extensions = 0
        self.before_end: list[Callable[[], None]] = []
        self._is_over = False

    def used(
        self,
        quantity: Quantity | None = None,
        *,
        feature: str | None = None,
        attributes: Mapping[str, str] | None = None,
        **quantities: Quantity,
    ) -> None:
        """Say what the work has used: one quantity, or several by name. Say it as often as there is something to say.

        Feature and attributes are those of the hold's only item unless told.

        Raises:
            ValueError: neither a quantity nor several, or both; no quantity that a capture may have; several items
                and no feature.
            RuntimeError: the block has ended: what it used is being captured, and nothing comes after that.
        """
        if self._is_over:
            raise RuntimeError(f"hold {self.id} has ended; say what was used, and read streams to their end, within it")
        if (quantity is None) == (not quantities):
            raise ValueError("say one quantity, used(quantity=12), or several by name, used(input_token=900)")
        planned = self.planned(feature)
        item: dict[str, Any] = {"feature": planned["feature"]}
        if attributes is not None or planned.get("attributes"):
            item["attributes"] = dict(attributes if attributes is not None else planned["attributes"])
        if quantities:
            item["quantities"] = {name: _text_of(value, name) for name, value in quantities.items()}
        else:
            item["quantity"] = _text_of(quantity, "quantity")
        self._used.append(item)

    def planned(self, feature: str | None) -> Item:
        """The item that work is of: the only one, or one of that feature. Raises ValueError where that is not clear."""
        if feature is not None:
            return {"feature": feature}
        if len(self.work.items) != 1:
            raise ValueError(f"feature: the hold is for {len(self.work.items)} items; say of which this was used")
        return self.work.items[0]

    def _place(self) -> ApiCall[Any]:
        if self.id:
            raise RuntimeError(f"hold {self.id} was a block's already: make one for each block")
        return requests.place(self.work.team, self.work.items, self.work.ttl, self.work.member, self._key)

    def _extend(self) -> ApiCall[Any]:
        self._extensions += 1
        return requests.extend(self.work.team, self.id, self.work.ttl, f"extend:{self.id}:{self._extensions}")

    def _release(self) -> ApiCall[Any]:
        return requests.release(self.work.team, self.id, f"release:{self.id}")

    def _end(self) -> None:
        for tell in self.before_end:
            tell()
        self._is_over = True

    def settlement(self) -> Settlement:
        """What was used so far, as it would be settled now."""
        return Settlement.now(self.work.team, self.id, self.work.member, self._used)

    @property
    def _pause_seconds(self) -> float:
        return self.work.ttl / 3


def _text_of(quantity: object, name: str) -> str:
    """A quantity as the API takes it, so that what is wrong is known here and not when the work is over."""
    try:
        text = f"{Decimal(str(quantity)):f}"
    except InvalidOperation:
        text = ""
    if not _IS_QUANTITY(text):
        raise ValueError(f"{name}: {quantity!r} is no quantity; at most 12 digits before and 9 after the point")
    return text


class AsyncHold(Block):
    """For `async with`. Entering raises `NotAllowed`, another `ApiError`, or `NoAnswer`.

    Leaving raises `ApiError` where the API will not take what was used; with a spool only where it never will, and no
    `NoAnswer`. A block that is cancelled, however often, is settled all the same, behind its back.
    """

    def __init__(self, client: "AsyncClient", work: PlannedBlock) -> None:
        super().__init__(work)
        self._client = client

    async def __aenter__(self) -> Self:
        placed = await self._client.send(self._place())
        self.id, self.credits = placed["id"], placed["credits"]
        self._extending = asyncio.create_task(self._keep_open())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._extending.cancel()
        finish = asyncio.create_task(self._finish(error))
        self._client.finishing.add(finish)
        finish.add_done_callback(self._client.finishing.discard)
        await asyncio.shield(finish)

    async def _finish(self, error: BaseException | None) -> None:
        if not self._used:
            await self._give_up()
            return
        try:
            await self._settle()
        except CreditwellError:
            if error is None:
                raise
            logger.exception("what was used under hold %s was not taken", self.id)

    async def _keep_open(self) -> None:
        while True:
            await asyncio.sleep(self._pause_seconds)
            try:
                await self._client.send(self._extend())
            except NoAnswer as trouble:
                logger.warning("hold %s is not made longer: %s", self.id, trouble)
            except ApiError as no:
                logger.warning("hold %s can't be made longer: %s", self.id, no)
                if no.is_verdict:  # 24 hours have passed, or somebody else has ended it
                    return

    async def _give_up(self) -> None:
        try:
            await self._client.send(self._release())
        except CreditwellError as trouble:  # it ends by itself
            logger.warning("hold %s was not released: %s", self.id, trouble)

    async def _settle(self) -> None:
        work, captures = self.settlement(), self._client.captures
        if captures is None:
            self.captured = await drive_async(settle(work, self._client.source), self._client.send)
            return
        with captures.settling(work.hold):
            # No task, and so nothing that the end of a loop cancels.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, captures.keep, work))
            self.captured = await drive_async(settle(work, self._client.source), self._client.send)


class SyncHold(Block):
    """For `with`. Raises as `AsyncHold`."""

    def __init__(self, client: "Client", work: PlannedBlock) -> None:
        super().__init__(work)
        self._client = client
        self._over = threading.Event()

    def __enter__(self) -> Self:
        placed = self._client.send(self._place())
        self.id, self.credits = placed["id"], placed["credits"]
        self._extending = threading.Thread(target=self._keep_open, name="creditwell-hold", daemon=True)
        self._extending.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._over.set()
        if not self._used:
            self._give_up()
            return
        try:
            self._settle()
        except CreditwellError:
            if error is None:
                raise
            logger.exception("what was used under hold %s was not taken", self.id)

    def _keep_open(self) -> None:
        while not self._over.wait(self._pause_seconds):
            try:
                self._client.send(self._extend())
            except NoAnswer as trouble:
                logger.warning("hold %s is not made longer: %s", self.id, trouble)
            except ApiError as no:
                logger.warning("hold %s can't be made longer: %s", self.id, no)
                if no.is_verdict:  # 24 hours have passed, or somebody else has ended it
                    return

    def _give_up(self) -> None:
        try:
            self._client.send(self._release())
        except CreditwellError as trouble:  # it ends by itself
            logger.warning("hold %s was not released: %s", self.id, trouble)

    def _settle(self) -> None:
        work, captures = self.settlement(), self._client.captures
        if captures is None:
            self.captured = drive(settle(work, self._client.source), self._client.send)
            return
        with captures.settling(work.hold):
            captures.keep(work)
            self.captured = drive(settle(work, self._client.source), self._client.send)
