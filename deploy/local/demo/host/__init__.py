"""The video product's own site, on another origin.

It embeds the elements of the Usage page, and asks for a price before it works.

What a host product does, and nothing else. Its server knows who is signed in and hands out tokens that live for
minutes. Its page puts `<credit-balance>` and `<credits-usage>` where it likes, in its own colours. Wishes for images
are passed on to its image service, which is in Node and uses `@creditwell/client` (`deploy/local/demo/images.mjs`).
"""

from collections.abc import Mapping
from datetime import timedelta
from importlib.resources import files
from mimetypes import guess_type

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from services.api.tokens import TokenRole, mint
from services.runtime.settings import Settings

TOKEN_LASTS = timedelta(minutes=5)
TIERS = ("low", "standard", "high")
FILES = ("host.css", "host.js")


def create_app(api: str, team: str, people: Mapping[str, TokenRole], images: str = "") -> Starlette:
    """The site. `people` sign in by saying who they are, which only a demo allows. `images`: where they are made."""
    settings = Settings(insecure_dev=True, jwks=None)

    async def token(request: Request) -> Response:
        member = request.query_params.get("as", "")
        if member not in people:
            return PlainTextResponse("nobody of this name is signed in", 403)
        return PlainTextResponse(
            mint(settings, team=team, member=member, role=people[member], lasts=TOKEN_LASTS),
            headers={"cache-control": "no-store"},
        )

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        routes=[
            Route("/token", token), Route("/healthz", healthz), _generating(images, people),
            *_pages(api),
        ]
    )  # fmt: skip


def _pages(api: str) -> list[Route]:
    """The page and its files, which take scripts and data from here and from the API alone."""
    policy = (
        f"default-src 'none'; script-src 'self' {api}; style-src 'self'; connect-src 'self' {api}; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "referrer-policy": "no-referrer", "cache-control": "no-cache"}

    async def page(_: Request) -> Response:
        return Response(_read("index.html").replace(b"{api}", api.encode()), headers=headers, media_type="text/html")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return PlainTextResponse("not found", 404)
        return Response(_read(name), headers=headers, media_type=guess_type(name)[0])

    return [Route("/", page), Route("/{name}", file)]


def _generating(images: str, people: Mapping[str, TokenRole]) -> Route:
    """Wishes for images, which the image service makes true, or says why not."""

    async def generate(request: Request) -> Response:
        body = await request.json()
        if body.get("as") not in people or body.get("tier") not in TIERS:
            return PlainTextResponse("an image needs somebody who asks for it, and a tier", 422)
        if not images:
            return PlainTextResponse("images are made by a service in Node, and deploy/local/node.sh found none", 503)
        async with httpx2.AsyncClient(trust_env=False, timeout=15) as client:
            answer = await client.post(f"{images}/images", json={"member": body["as"], "tier": body["tier"]})
        return JSONResponse(answer.json(), answer.status_code)

    return Route("/generate", generate, methods=["POST"])


def _read(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()
