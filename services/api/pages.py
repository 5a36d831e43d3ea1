"""`/usage` and its files: an empty shell for anyone; everything in it is asked for with a token that the browser alone holds.

Nothing inline and nothing from elsewhere, so the policy can say so.
"""

from importlib.resources import files
from mimetypes import guess_type

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.api.problems import problem
from services.api.world import World

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin", "cache-control": "no-cache",
}  # fmt: skip
INSECURE = b'<meta name="insecure-dev" content="1">'

routes = APIRouter(include_in_schema=False)


def load_files() -> dict[str, tuple[bytes, str]]:
    """Every file of the page by its path, with its type: a few dozen kilobytes, read once."""
    found: dict[str, tuple[bytes, str]] = {}
    folders = [("", files("services").joinpath("page"))]
    for prefix, folder in folders:
        for file in folder.iterdir():
            if file.is_dir():
                folders.append((f"{prefix}{file.name}/", file))
            elif not file.name.startswith((".", "__")):
                found[prefix + file.name] = (file.read_bytes(), guess_type(file.name)[0] or "application/octet-stream")
    return found


FILES = load_files()


@routes.get("/usage")
async def get_usage_page(request: Request) -> Response:
    """The shell."""
    world: World = request.app.state.world
    shell, kind = FILES["usage.html"]
    if world.settings.insecure_dev:
        shell = shell.replace(b"<!-- insecure-dev -->", INSECURE)
    return Response(shell, headers=HEADERS, media_type=kind)


@routes.get("/usage/{path:path}")
async def get_page_file(path: str) -> Response:
    """A style sheet, a script, an icon."""
    if path not in FILES:
        raise problem(404, "not_found", f"the page has no file {path!r:.80}")
    body, kind = FILES[path]
    return Response(body, headers=HEADERS, media_type=kind)
