"""How every process runs: one event loop, logs, signals, health, and an exit code that tells what happened.

0   it was asked to stop, and stopped
1   it failed, or did not stop in time: whoever runs it starts it again; offsets and checkpoints stay
2   its settings are wrong: starting it again would not help
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop

from services.runtime.clock import until_stopped
from services.runtime.errors import Refused
from services.runtime.gc_tuning import stop_looking_for_garbage
from services.runtime.health import Health
from services.runtime.health_pages import health_app
from services.runtime.http_server import listen
from services.runtime.logs import configure_logs, get_log
from services.runtime.minutes import say_each_minute
from services.runtime.niceness import give_way
from services.runtime.processes import PROCESSES, Main
from services.runtime.settings import Settings, WrongSettings
from services.runtime.settings_loading import USED_WRONGLY, say_used_wrongly, unknown_variables
from services.runtime.tracing.sending import spans_sent

E = TypeVar("E", bound=BaseException)

STOPPED, FAILED = 0, 1
DRAIN_SECONDS = 10


def run_process(name: str, main: Main, settings: Settings, *, stop_at_eof: bool = False) -> int:
    """Run a process until SIGTERM or SIGINT; the exit code.

    With `stop_at_eof` the end of standard input stops it as well: it can't outlive whoever holds the other end.
    """
    configure_logs(settings, name)
    stop_looking_for_garbage()
    if name in PROCESSES and PROCESSES[name].gives_way:
        give_way()
    log = get_log()
    for sentence in unknown_variables(os.environ):
        log.warning(sentence)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            in_time = runner.run(_run(name, main, settings, stop_at_eof=stop_at_eof))
    except Exception as error:  # the last place that can say why
        if (wrong := _part(error, WrongSettings)) is not None:
            say_used_wrongly(*wrong.sentences)
            return USED_WRONGLY
        log.exception("failed", error=str(_part(error, Refused) or error))
        return FAILED
    if not in_time:
        log.error("did not stop in time", seconds=DRAIN_SECONDS)
        return FAILED
    log.info("stopped")
    return STOPPED


async def _run(name: str, main: Main, settings: Settings, *, stop_at_eof: bool) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stop_at_eof:
        loop.add_reader(sys.stdin.fileno(), _at_eof, stop)
    health = Health(name)
    async with _health_server(health, settings), spans_sent(name, health.registry):
        get_log().info("started", pid=os.getpid())
        telling = asyncio.create_task(say_each_minute(health, stop))
        try:
            return await _work(main(settings, stop, health), stop, health)
        finally:
            telling.cancel()


async def _work(work: Coroutine[Any, Any, None], stop: asyncio.Event, health: Health) -> bool:
    """True when the work ended in time after it was asked to. What it raises is raised here."""
    working = asyncio.create_task(work)
    try:
        if await until_stopped(asyncio.wait({working}), stop):
            working.result()
            if not stop.is_set():
                message = "the process ended though nobody had asked it to"
                raise RuntimeError(message)
            return True
        get_log().info("stopping")
        health.ready(is_ready=False)
        await asyncio.wait({working}, timeout=DRAIN_SECONDS)
        if working.done():
            working.result()
            return True
        return False
    finally:
        working.cancel()


def _part(error: BaseException, kind: type[E]) -> E | None:
    """An error of this kind, also out of a group of tasks: its own words say more than the group's."""
    if isinstance(error, BaseExceptionGroup):
        return next((match for part in error.exceptions if (match := _part(part, kind)) is not None), None)
    return error if isinstance(error, kind) else None


def _at_eof(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


@asynccontextmanager
async def _health_server(health: Health, settings: Settings) -> AsyncIterator[None]:
    """Up before the work begins and down after it has ended."""
    if not settings.health_port:
        yield
        return
    stop, started = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(
        listen(
            health_app(health), host=settings.health_host, port=settings.health_port, port_setting="health_port",
            stop=stop, started=started,
        )
    )  # fmt: skip
    starting = asyncio.create_task(started.wait())
    await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    if serving.done():
        serving.result()
    try:
        yield
    finally:
        stop.set()
        await serving
