"""The server of `forkserver.py`: loads every process of ours, then forks one each time that it is asked.

    python -m deploy.local.forking CONTROL     CONTROL: the number of an inherited socket

It forks while it has one thread, no event loop and no connection, and a child closes the sockets of the server before
anything else. It ends when the other end of CONTROL does.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn.lifespan.off
import uvicorn.protocols.http.httptools_impl

from deploy.local.forkserver import send_number
from deploy.local.stripe import server
from services.api.app import openapi_document
from services.cli import app
from services.runtime import crashpoints, running, supervisor
from services.runtime.processes import PROCESSES

# Whatever is not imported here is imported by every child.
LOADED: tuple[Any, ...] = (
    *(process.main() for process in PROCESSES.values()), app, running, supervisor, server,
    uvicorn.lifespan.off, uvicorn.protocols.http.httptools_impl,
)  # fmt: skip
REQUEST_BYTES = 2**16
THREADS = Path("/proc/self/task")


@dataclass(frozen=True)
class ForkedChild:
    """A process that was forked, until the one who asked for it knows how it ended."""

    pid: int
    end: int  # a file that says so
    line: socket.socket


def main(control: socket.socket) -> None:
    """Serve; in each child, become what it is to be."""
    openapi_document()  # or every API makes it anew
    gc.collect()
    gc.freeze()  # or every search for garbage in a child makes a copy of all that it shares with us
    # Whom a shell has put into the background ignores it, and so would every child that is told to stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    line = serve(control)
    if line is not None and (request := receive_request(line)) is not None:
        become(request)


def serve(control: socket.socket) -> socket.socket | None:
    """Returns in each child, with its line and without any other file of ours.

    Returns None here, when the owner has ended.
    """
    children: dict[int, ForkedChild] = {}  # by the file that is looked at: that of its end, then its line
    looking = select.poll()
    looking.register(control, select.POLLIN)
    while True:
        for file, _ in looking.poll():
            if file == control.fileno():
                child = fork(control, children)
                if child is None or isinstance(child, socket.socket):
                    return child
                children[child.end] = child
                looking.register(child.end, select.POLLIN)
                continue
            child = children.pop(file)
            looking.unregister(file)
            if file == child.end:
                tell(child)
                os.close(child.end)
                children[child.line.fileno()] = child
                looking.register(child.line, select.POLLIN)
            else:  # whoever waited for it knows: now the pid may mean somebody else
                os.waitpid(child.pid, 0)
                child.line.close()


def fork(control: socket.socket, children: Mapping[int, ForkedChild]) -> ForkedChild | socket.socket | None:
    """A child; in that child, its line; None when nobody will ask any more."""
    word, files, _, _ = socket.recv_fds(control, 1, 3)
    if not word:
        for child in children.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        return None
    line, output, errors = files
    if len(list(THREADS.iterdir())) > 1:
        raise RuntimeError("a module that was loaded runs a thread: a child would be without it, and with its locks")
    pid = os.fork()
    if pid:
        os.close(output)
        os.close(errors)
        return ForkedChild(pid, os.pidfd_open(pid), socket.socket(fileno=line))
    os.setsid()
    control.close()
    for file, child in children.items():
        child.line.close()
        if file == child.end:
            os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, output, errors)):
        os.dup2(file, number)
        os.close(file)
    return socket.socket(fileno=line)


def tell(child: ForkedChild) -> None:
    """How it ended; it stays a zombie, and so its pid its own, until that was heard."""
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with contextlib.suppress(BrokenPipeError):
        send_number(child.line, code)


def receive_request(line: socket.socket) -> dict[str, Any] | None:
    """What this child is to be, once everybody knows that it is there; None when nobody wants it any more."""
    with line:
        send_number(line, os.getpid())
        received = b""
        while not received.endswith(b"\n"):
            more = line.recv(REQUEST_BYTES)
            if not more:
                return None
            received += more
    request: dict[str, Any] = json.loads(received)
    return request


def become(request: Mapping[str, Any]) -> None:
    """Run the module as `python -m` would, with all that a new process brings along."""
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    # The variables that it reads when it is imported were not the child's.
    importlib.reload(crashpoints)
    sys.argv = [request["module"], *request["arguments"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
