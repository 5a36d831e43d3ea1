"""Structured log lines on standard error: JSON for machines, text on a terminal.

The first field says `insecure_dev` where that is so. Every line, also of a library and also of a traceback, passes one
place that takes the configured secrets out.
"""

import logging
import sys
from collections.abc import Callable, Iterable
from time import monotonic
from typing import cast
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from services.runtime.settings import Settings

FIRST = ("insecure_dev", "at", "level", "process", "event")
REDACTED = "[secret]"
SECRET_LENGTH_MIN = 6  # anything shorter stands in ordinary words, too

# Libraries that tell of every request or heartbeat at level info.
KAFKA_CLIENT = "aiokafka"
TALKATIVE = {KAFKA_CLIENT: "Kafka's client", "opentelemetry": "OpenTelemetry"}
KAFKA_CLIENT_SECONDS = 60.0
QUIET = (
    "aiokafka", "asyncio", "faststream", "httpcore2", "httpx2", "opentelemetry", "stripe", "urllib3", "uvicorn.access",
    "uvicorn.error",
)  # fmt: skip


def get_log() -> FilteringBoundLogger:
    """The log of this process: `get_log().info("charged", team_id=team, attempt_id=attempt)`."""
    return cast(FilteringBoundLogger, structlog.get_logger())


def configure_logs(settings: Settings, process: str) -> None:
    """Send everything that this process says, and its libraries, to standard error."""
    level = getattr(logging, settings.log_level.upper())
    levels = levels_of(settings)
    first: EventDict = {"insecure_dev": True} if settings.insecure_dev else {}
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _say_first({**first, "process": process}),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(secrets_of(settings), foreign_pre_chain=shared, processors=_render(settings)))
    for library in TALKATIVE.keys() - levels:
        handler.addFilter(OneLineOfMany(library=library))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name, own in levels.items():
        logging.getLogger(name).setLevel(own)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(min([level, *levels.values()])),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


class OneLineOfMany(logging.Filter):
    """Of what a library says, one line a minute, which counts those that were left out since the one before.

    While brokers are away Kafka's client says several a second at level error, each about one connection. That Kafka is
    away our own lines and `/readyz` say. Of a collector that is away OpenTelemetry says it with every batch. What comes
    with a traceback passes. Whoever gives the library a level of its own (CREDITWELL_LOG_LEVELS) gets all of it.
    """

    def __init__(self, now: Callable[[], float] = monotonic, library: str = KAFKA_CLIENT) -> None:
        super().__init__()
        self._now = now
        self._library = library
        self._told_at = float("-inf")
        self._untold = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is told; one that stands for others is changed to say so."""
        if record.name.partition(".")[0] != self._library or record.exc_info:
            return True
        if self._now() - self._told_at < KAFKA_CLIENT_SECONDS:
            self._untold += 1
            return False
        more = f" ({self._untold:,} lines of its were left out since the last one)" if self._untold else ""
        record.msg, record.args = f"{TALKATIVE[self._library]}: {record.getMessage()}{more}", ()
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        self._told_at, self._untold = self._now(), 0
        return True


def levels_of(settings: Settings) -> dict[str, int]:
    """The level of each logger that has one of its own."""
    pairs = (pair.partition("=") for pair in settings.log_levels.split(",") if pair)
    return {name: getattr(logging, level.upper()) for name, _, level in pairs}


def _say_first(fixed: EventDict) -> Processor:
    def in_order(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        fields = {**line, **fixed}
        return {key: fields[key] for key in FIRST if key in fields} | fields

    return in_order


def _render(settings: Settings) -> list[Processor]:
    text = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    if not text:
        return [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        timestamp_key="at",
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def insecure_first(logger: WrappedLogger, method: str, line: EventDict) -> str:
        first = "insecure_dev=True " if line.pop("insecure_dev", False) else ""
        return f"{first}{console(logger, method, line)}"

    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, insecure_first]


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders a line and takes the secrets out of it, whoever put them there."""

    def __init__(
        self, secrets: Iterable[str], *, foreign_pre_chain: list[Processor], processors: list[Processor]
    ) -> None:
        super().__init__(foreign_pre_chain=foreign_pre_chain, processors=processors)
        self._secrets = sorted(secrets, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, REDACTED)
        return line


def secrets_of(settings: Settings) -> set[str]:
    """Every text that must never be logged; of the database's URL, its password."""
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    parts = {part.strip() for value in values for part in [value, *value.split(",")] if "://" not in part}
    for value in values:
        password = urlsplit(value).password if "://" in value else None
        parts |= {password, unquote(password)} if password else set()
    return {part for part in parts if len(part) >= SECRET_LENGTH_MIN}
