"""`/usage` and its files: an empty shell for anyone.

Everything in it is asked for with a token that the browser alone holds.

Nothing inline and nothing from elsewhere, so the policy can say so.
"""

import re
from collections.abc import Mapping
from gzip import compress
from hashlib import sha256
from importlib.resources import files
from mimetypes import guess_type
from types import MappingProxyType
from typing import NamedTuple

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.api.answers import names
from services.api.context import ApiContext
from services.api.problems import problem

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin", "cache-control": "no-cache",
}  # fmt: skip
FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
ENTRY = "creditwell.js"  # what host products load
OF_A_BUILD = re.compile(r"([0-9a-f]{16})/(.+)")
INSECURE = (
    b'<aside class="insecure" aria-label="Warning">Insecure development: tokens are signed by a key that everybody knows. '
    b"Never run this for real teams.</aside>"
)

HOST_TYPES = frozenset(
    {"api.d.ts", "host.d.ts", "texts.d.ts"}
)  # for those who embed it; the others are for those who write the page

# A comment that has its lines to itself: types and words for those who write the page.
# They are a sixth of what a browser would load.
COMMENT = re.compile(rb"^[ \t]*/\*\*(?:(?!\*/).)*\*/$", re.MULTILINE | re.DOTALL)

routes = APIRouter(include_in_schema=False)


class File(NamedTuple):
    """A file of the page.

    Its bytes, plain and compressed, their type, and a tag by which a browser knows that it has them.
    """

    body: bytes
    gzipped: bytes
    kind: str
    etag: str


def load_files() -> dict[str, File]:
    """Every file of the page by its path: a few dozen kilobytes, read once."""
    files_by_path: dict[str, File] = {}
    folders = [("", files("services").joinpath("page"))]
    for prefix, folder in folders:
        for file in folder.iterdir():
            if file.is_dir():
                folders.append((f"{prefix}{file.name}/", file))
            elif not file.name.endswith(".d.ts") or file.name in HOST_TYPES:
                body = file.read_bytes()
                files_by_path[prefix + file.name] = _file(
                    without_comments(body) if file.name.endswith(".js") else body, guess_type(file.name)[0]
                )
    return files_by_path


def without_comments(script: bytes) -> bytes:
    """A script without the comments about its functions; each line stays the line that it is."""
    return COMMENT.sub(lambda comment: b"\n" * comment[0].count(b"\n"), script)


def _file(body: bytes, kind: str | None) -> File:
    return File(body, compress(body, mtime=0), kind or "application/octet-stream", sha256(body).hexdigest()[:16])


FILES = load_files()
BUILD = sha256("".join(f"{name} {FILES[name].etag}\n" for name in sorted(FILES)).encode()).hexdigest()[:16]
SHELL = FILES["usage.html"]
INSECURE_SHELL = _file(SHELL.body.replace(b"<!-- insecure-dev -->", INSECURE), SHELL.kind)


@routes.get("/usage")
async def get_usage_page(request: Request) -> Response:
    """The shell."""
    context: ApiContext = request.app.state.context
    return _send(INSECURE_SHELL if context.settings.insecure_dev else SHELL, request)


@routes.get("/usage/{path:path}")
async def get_page_file(path: str, request: Request) -> Response:
    """A style sheet, a script, an icon.

    What host products load leads to a path with the build's hash, below which browsers keep every file for ever. While
    a fleet goes to another build, a process that is asked for a file of that build sends its own, not to be kept.
    """
    if path == ENTRY:
        return RedirectResponse(f"{BUILD}/{ENTRY}", 307, headers=HEADERS)
    of_a_build = OF_A_BUILD.fullmatch(path)
    build, name = of_a_build.groups() if of_a_build else (None, path)
    if name not in FILES:
        raise problem(404, "not_found", f"the page has no file {path!r:.80}")
    return _send(FILES[name], request, FOREVER if build == BUILD else {})


def _send(file: File, request: Request, kept: Mapping[str, str] = MappingProxyType({})) -> Response:
    is_gzipped = "gzip" in request.headers.get("accept-encoding", "")
    etag = f'"{file.etag}{"-gzip" if is_gzipped else ""}"'
    headers = {**HEADERS, **kept, "etag": etag, "vary": "Accept-Encoding"}
    if names(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if is_gzipped:
        return Response(file.gzipped, headers=headers | {"content-encoding": "gzip"}, media_type=file.kind)
    return Response(file.body, headers=headers, media_type=file.kind)
