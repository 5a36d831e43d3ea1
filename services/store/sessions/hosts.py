"""Sessions at the database: to which host, with which settings, and what it means when there is none.

Of several hosts the one that takes writes is taken, and none is waited for while another might answer. What is wrong
about `CREDITWELL_DATABASE` is told from a database that is away: the first never passes.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from services.runtime.settings import WrongSettings, advice
from services.store.sessions.session_check import check_session

if TYPE_CHECKING:
    Session = asyncpg.Connection[asyncpg.Record]
else:
    Session = asyncpg.Connection

HOST_SECONDS = 3.0  # of several hosts, the next one is asked then
LONE_HOST_SECONDS = 8.0
PORT = 5432

# Found dead within five seconds, by the kernel and without a word of ours. A NAT that forgets what is idle never does.
KEEPALIVE = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 5_000}

# libpq's, of others, and what to do without them. asyncpg passes on what it does not know, as a setting of the server.
NOT_OURS = {
    "channel_binding": "take it out: SCRAM is used without it; sslmode=verify-full proves the server",
    "connect_timeout": "take it out: a host that does not answer is parameters up by itself",
    "keepalives": "take it out: keepalives are always sent",
    "gssencmode": "take it out: write sslmode for an encrypted connection",
    "sslcompression": "take it out: TLS has no compression any more",
    "load_balance_hosts": "take it out: the host that takes writes is used",
    "pgbouncer": "take it out: a pooler is found by itself",
    "schema": "take it out: the tables are in the schema `public`",
    "connection_limit": "take it out: each process knows how many sessions it needs",
    "pool_timeout": "take it out: each process has a pool of its own",
}
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# PgBouncer has one SQLSTATE for whatever goes wrong, be it for ever or for a moment.
FOR_EVER = ("startup parameter", "no such user", "no such database", "authentication failed", "pooling mode")
WRONG = (
    asyncpg.ClientConfigurationError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a wrong password, too
    asyncpg.InvalidCatalogNameError,
    asyncpg.UndefinedObjectError,  # a setting that the server does not know
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
    asyncpg.InsufficientPrivilegeError,
    ssl.SSLCertVerificationError,
)
GONE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
FORGOTTEN = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
FORGETFUL = (
    "a pooler hands its sessions round by transaction and keeps no prepared statements: let PgBouncer (1.21 or later) "
    "have max_prepared_statements above 0, or pool_mode = session"
)

Host = tuple[str, int]


class NobodyThere(ConnectionError):
    """No host answers, not even with a refusal."""


class Opened(NamedTuple):
    """A session, and whether its server takes no writes at present."""

    session: Session
    reads_only: bool


class Hosts:
    """The hosts of a URL; one that did not answer is asked last from then on."""

    def __init__(self, url: str) -> None:
        """Raises WrongSettings."""
        parameters = check_url(url)
        self._url, self._hosts = url, hosts_of(url)
        self._writers_first = len(self._hosts) > 1 and "target_session_attrs" not in parameters

    async def open_session(self, settings: Mapping[str, str], *, command_timeout: float | None = None) -> Opened:
        """A session that takes writes, or where no host has one, a session that only reads.

        Raises:
            WrongSettings: the URL is wrong, or what the session is made of is not what we rely on.
            ConnectionError: no host has a session for us; it names each. NobodyThere: nor did any answer.
        """
        second_best: Opened | None = None
        failures: dict[str, Exception] = {}
        hosts: list[Host | None] = [*self._hosts] or [None]
        for host in hosts:
            try:
                opened = await self._open(host, settings, command_timeout)
            except GONE as error:
                raise_if_wrong(error)
                failures[name_of(host)] = error
                self._ask_last(host)
                continue
            if not (self._writers_first and opened.reads_only):
                if second_best is not None:
                    second_best.session.terminate()
                return opened
            if second_best is None:
                second_best = opened
            else:
                opened.session.terminate()
        if second_best is not None:
            return second_best
        words = "; ".join(f"{name}: {str(error) or 'no answer'}" for name, error in failures.items())
        kind = NobodyThere if all(isinstance(error, OSError) for error in failures.values()) else ConnectionError
        raise kind(f"no session at the database (CREDITWELL_DATABASE): {words}")

    def _ask_last(self, host: Host | None) -> None:
        if host in self._hosts:
            self._hosts.remove(host)
            self._hosts.append(host)

    async def _open(self, host: Host | None, settings: Mapping[str, str], command_timeout: float | None) -> Opened:
        seconds = HOST_SECONDS if len(self._hosts) > 1 else LONE_HOST_SECONDS
        async with asyncio.timeout(seconds):
            session: Session = await asyncpg.connect(
                self._url, host=host and host[0], port=host and host[1], timeout=2 * seconds,
                server_settings=dict(settings), command_timeout=command_timeout, max_cached_statement_lifetime=0,
            )  # fmt: skip
            try:
                keep_alive(session)
                return Opened(session, await check_session(session, settings))
            except BaseException:
                session.terminate()
                raise


def check_url(url: str) -> dict[str, str]:
    """The parameters of a URL; what no server needs to be asked about is said here.

    Raises:
        WrongSettings: a parameter that is none of ours, a file that is missing, or no list of parameters at all.
    """
    query = urlsplit(url).query
    try:
        parameters = {name: values[-1] for name, values in parse_qs(query, strict_parsing=bool(query)).items()}
    except ValueError as error:
        raise _wrong(f"its parameters can't be read ({error})") from None
    foreign = [f"`{name}` is no parameter of it; {NOT_OURS[name]}" for name in parameters if name in NOT_OURS]
    missing = [
        f"`{name}` names {parameters[name]}, which is not a file" for name in FILES
        if name in parameters and not Path(parameters[name]).is_file()
    ]  # fmt: skip
    if foreign or missing:
        raise WrongSettings(*(f"CREDITWELL_DATABASE is wrong: {what}." for what in foreign + missing))
    return parameters


def hosts_of(url: str) -> list[Host]:
    """Each host of a URL with its port; none where the machine's own settings say which.

    Raises:
        WrongSettings: a port is no number.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    named = parts.netloc.rpartition("@")[2] or query.get("host", [""])[-1]
    ports = query.get("port", [""])[-1].split(",")
    hosts = []
    try:
        for number, one in enumerate(filter(None, named.split(","))):
            name, _, port = one.rpartition(":") if ":" in one.rpartition("]")[2] else (one, "", "")
            hosts.append((unquote(name).strip("[]"), int(port or ports[number % len(ports)] or PORT)))
    except ValueError:
        raise _wrong("a port is no number") from None
    return hosts


def name_of(host: Host | None) -> str:
    """For people."""
    return "this machine's PostgreSQL" if host is None else f"{host[0]}:{host[1]}"


def raise_if_wrong(error: Exception) -> None:
    """Raise WrongSettings for what no patience mends."""
    if isinstance(error, asyncpg.PostgresConnectionError):
        if not any(sign in str(error) for sign in FOR_EVER):
            return
        what = f"{error}. A pooler says so: see `docs/postgresql.md` for what it must let pass"
    elif isinstance(error, FORGOTTEN):
        what = FORGETFUL
    elif isinstance(error, WRONG):
        what = str(error)
    elif isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        what = "`sslmode` asks for an encrypted connection, and the server has none: set up TLS there, or write sslmode=prefer"
    else:
        return
    raise _wrong(what) from None


def _wrong(what: str) -> WrongSettings:
    return WrongSettings(f"CREDITWELL_DATABASE is wrong: {what}. {advice('database')}")


def keep_alive(session: Session) -> None:
    """Let the kernel ask whether the other end is still there; asyncpg has no word for it."""
    connection: socket.socket = session._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
