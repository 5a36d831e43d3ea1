"""What answers are made of: JSON bytes that nobody may keep, tags that name what was read."""

import re
from collections.abc import Mapping, Sequence

from pydantic_core import to_json
from starlette.responses import Response

from services.api.wording.values import Json

JSON = "application/json"
__all__ = ["JSON", "Json", "answer"]


def answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that nobody may keep: what it says was true when it was asked for."""
    return Response(to_json(content), status, {"cache-control": "no-store", **(headers or {})}, JSON)


# RFC 9110, 8.8.3: a comma may stand in a tag, so a list is not split at commas.
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
# What nginx, Apache, Caddy and CDNs make of a tag of ours when they compress what it names.
_CHANGED_ON_THE_WAY = re.compile(r'(?:W/)?"(.*?)(?:[-;](?:gzip|gz|br|zstd|deflate|df))?"')


def names(lines: Sequence[str], tag: str) -> bool:
    """True where `If-Match` or `If-None-Match`, given line by line, names this tag; `*` names any.

    Only the tag itself is compared, for both headers. Ours name a version and not bytes, so they are strong whatever
    the encoding; a `W/` or a `-gzip` is somebody else's between us and the caller. RFC 9110 wants `If-Match` to refuse
    a weak tag. Then nobody behind a proxy that compresses could save anything.
    """
    text = ", ".join(lines)
    if text.strip() == "*":
        return True
    return bool(_LIST.fullmatch(text)) and any(_bare(one) == _bare(tag) for one in re.findall(_TAG, text))


def _bare(tag: str) -> str:
    changed = _CHANGED_ON_THE_WAY.fullmatch(tag)
    return tag if changed is None else changed[1]
