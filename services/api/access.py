"""Who may do what: every route goes through `route`, which names its roles, and through the one check below.

The contract names a row's roles; the rest follows. An admin is a member who may spend. Finance has every GET of a
member, operators have every GET and their own rows, services the rows that name them. The team is the token's own; for
others there is nothing there: 404, whatever the role, and no hint. Row-level security says the same once more in the
database. What holds for every team, as a rate card does, is for tokens of every team.

Who asks too often is sent away as soon as it is known who asks, whatever it is about: see `rate_limits`.
"""

from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path
from fastapi.routing import APIRoute
from fastapi_problem.error import Problem
from starlette.requests import Request
from starlette.responses import Response

from schemas.facts import Id
from services.api.bodies import ExactRequest
from services.api.context import ApiContext, PatientRead, QuickRead, as_team
from services.api.openapi.codes import LONG_BODY
from services.api.openapi.route_docs import Code, Links, answers, balance_then
from services.api.problems import problem
from services.api.rate_limits import address_of
from services.api.tokens import EVERY_TEAM, BadToken, Caller, TokenRole
from services.credits.directory import read_admins
from services.store.connect import SESSION_LOST, Connection

ANYONE = tuple(TokenRole)  # anyone signed in
TeamId = Annotated[Id, Path(description="The team's id.")]

RouteFunction = TypeVar("RouteFunction", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class TeamRequest:
    """One request that has passed the check: who asks, and about which team."""

    context: ApiContext
    request: ExactRequest
    caller: Caller
    team_id: str

    def transaction(self, team_id: str | None = None) -> AbstractAsyncContextManager[Connection]:
        """A transaction that sees this team alone.

        Which one the database shows is the token's word and not the address's: were the check below ever wrong, another
        team's rows would still not be there.
        """
        return as_team(self.context.pool, team_id or self._own)

    def snapshot(self) -> AbstractAsyncContextManager[Connection]:
        """As `transaction`, where several statements must see the same: what they saw is added up."""
        return as_team(self.context.pool, self._own, "repeatable_read")

    def quick_read(self) -> QuickRead:
        """For reading this team alone and nothing else: as quick as it gets."""
        return QuickRead(self.context.pool, self._own)

    def patient_read(self) -> PatientRead:
        """The same for who reads much, page by page: others go first from now on."""
        self.context.crowd.step_aside(self.request)
        return PatientRead(self.context.pool, self._own, self.context.crowd)

    @property
    def _own(self) -> str:
        return self.team_id if self.caller.team_id == EVERY_TEAM else self.caller.team_id


# Receipt links, card digits and charge ids; who else may read the rest of an answer gets null there.
SEES_PAYMENTS = frozenset({TokenRole.ADMIN, TokenRole.FINANCE})


def allowed(method: str, named: Collection[TokenRole]) -> frozenset[TokenRole]:
    """The roles that may use a route for which the contract names these."""
    roles = set(named)
    if TokenRole.MEMBER in named:
        roles.add(TokenRole.ADMIN)
    if method == "GET":
        roles.add(TokenRole.OPERATOR)
        if TokenRole.MEMBER in named:
            roles.add(TokenRole.FINANCE)
    return frozenset(roles)


class CheckedRoute(APIRoute):
    """A route that checks its rule before it so much as reads the body. One without a rule can't be made."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The check, and then what FastAPI would do."""
        rule = self.openapi_extra or {}
        roles, for_every_team = frozenset(map(TokenRole, rule["x-roles"])), rule.get("x-every-team", False)
        answer = super().get_route_handler()

        async def check_and_answer(request: Request) -> Response:
            exact = ExactRequest(request.scope, request.receive)
            await _check(exact, exact.path_params.get("team"), roles, for_every_team=for_every_team)
            if self.body_field is not None and await exact.body():
                await exact.json()  # read here: whatever fails in FastAPI's own reading it calls a bad request
            with exact.app.state.context.crowd.joined(exact):
                try:
                    return await answer(exact)
                except SESSION_LOST:
                    if request.method != "GET":
                        raise
                    return await answer(exact)  # it only reads, and the session that died under it is replaced

        return check_and_answer


def route(
    routes: APIRouter,
    method: str,
    path: str,
    *named: TokenRole,
    gives: Any = None,
    status: int = 200,
    fails: Collection[str] = (),
    links: Links | None = None,
    for_every_team: bool = False,
    **documented: Any,
) -> Callable[[RouteFunction], RouteFunction]:
    """Offer a route to the roles that the contract names for it.

    The rest is for the OpenAPI document, which says what the route is for in the words of its docstring. `gives` is the
    model of its answer; answers are built directly and not validated again. `fails` has the codes with which it can
    fail beside those that follow from its rule. `links` say where its answer leads. `for_every_team` where what it does
    holds for all of them, so that a token of one team is not enough.
    """
    roles = allowed(method, named)
    extra = {"x-roles": sorted(roles), "security": [{"token": []}]} | documented.pop("openapi_extra", {})
    if for_every_team:
        extra["x-every-team"] = True
    links = {**(balance_then(gives) if method != "GET" and "{team}" in path else {}), **(links or {})}
    more = documented.pop("responses", {})
    routes.route_class = CheckedRoute

    def offer(handler: RouteFunction) -> RouteFunction:
        takes_json = "body" in handler.__annotations__ or "requestBody" in extra
        rule_codes = _codes_of(method, path, roles, takes_json=takes_json, for_every_team=for_every_team)
        docstring = cleandoc(handler.__doc__ or "")
        summary = docstring.partition("\n")[0].partition(". ")[0].rstrip(".")
        made: Callable[[RouteFunction], RouteFunction] = routes.api_route(
            path, methods=[method], operation_id=handler.__name__, summary=summary, description=docstring, status_code=status,
            response_model=None, responses=answers(status, gives, summary, codes={*fails, *rule_codes}, links=links, more=more),
            dependencies=[Depends(_team)] if "{team}" in path else [], openapi_extra=extra, **documented,
        )  # fmt: skip
        return made(handler)

    return offer


def _codes_of(
    method: str, path: str, roles: Collection[TokenRole], *, takes_json: bool, for_every_team: bool
) -> Iterator[Code]:
    """How a route can fail whatever it does, by its method, its address and who may use it."""
    yield from (
        "bad_request",
        "unauthenticated",
        "internal",
        "unavailable",
        "no_keys",
        "invalid_request",
        "too_many_requests",
    )
    if len(roles) < len(TokenRole):
        yield "forbidden"
    if for_every_team:
        yield "every_team_required"
    if "{" in path:
        yield "not_found"
    if "{team}" in path:
        yield "unknown_team"
        yield "unknown_zone"
        if TokenRole.ADMIN in roles and TokenRole.MEMBER not in roles:
            yield "ask_your_admin"
    if method != "GET":
        yield LONG_BODY
        yield "store_unchecked"
    if takes_json:
        yield "unsupported_media_type"


async def _team(team: TeamId) -> None:
    """The part of the address that names the team, for the OpenAPI document."""


async def _check(
    request: ExactRequest, team_id: str | None, roles: frozenset[TokenRole], *, for_every_team: bool
) -> None:
    context: ApiContext = request.app.state.context
    try:
        caller = await context.tokens.verify(_token(request))
    except BadToken as bad:
        context.rate_limiter.failed(address_of(request))
        raise unauthenticated(str(bad)) from bad
    request.state.caller = caller  # for the line in the log, whatever comes of the request
    context.rate_limiter.let_in(caller)
    if team_id is not None and not caller.may_see(team_id):
        raise unknown_team(team_id)
    if caller.role not in roles:
        raise await _not_allowed(context, caller, team_id, roles)
    if for_every_team and caller.team_id != EVERY_TEAM:
        detail = f'this holds for every team and needs a token with team "{EVERY_TEAM}"; yours names one team'
        raise problem(403, "every_team_required", detail)
    request.state.ask = TeamRequest(context, request, caller, team_id or caller.team_id)


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise BadToken("send the header Authorization: Bearer <token>")
    return token.strip()


def unauthenticated(detail: str) -> Problem:
    """Nobody is known to ask."""
    return problem(401, "unauthenticated", detail, headers={"www-authenticate": "Bearer"})


def unknown_team(team_id: str) -> Problem:
    """The same words for a team that is another's and for one that does not exist."""
    return problem(404, "unknown_team", f"there is no team {team_id!r} that this token may see")


async def _not_allowed(
    context: ApiContext, caller: Caller, team_id: str | None, roles: frozenset[TokenRole]
) -> Problem:
    if caller.role is not TokenRole.MEMBER or TokenRole.ADMIN not in roles or team_id is None:
        named = ", ".join(sorted(roles))
        return problem(403, "forbidden", f"this needs a token of role {named}; yours is {caller.role}")
    async with as_team(context.pool, team_id) as connection:
        admins = await read_admins(connection, team_id)
    names = ", ".join(admin.name for admin in admins) or "nobody in the directory yet"
    return problem(
        403, "ask_your_admin", f"only team admins may do this; ask {names}",
        admins=[{"id": admin.member_id, "name": admin.name} for admin in admins],
    )  # fmt: skip


async def _ask(request: Request) -> TeamRequest:  # a coroutine, or FastAPI would ask a thread
    ask: TeamRequest = request.state.ask  # set by the check; a route without a rule has none and fails
    return ask


AllowedRequest = Annotated[TeamRequest, Depends(_ask)]
