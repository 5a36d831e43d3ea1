"""Waiting for servers of others, which tell nobody when they are ready: look, at short intervals, and see when they have died."""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from deploy.local.trouble import StackTrouble, tail

LOOK_SECONDS = 0.02


def wait_until(
    ready: Callable[[], bool],
    *,
    step: str,
    child: subprocess.Popen[bytes],
    log: Path,
    timeout_seconds: float,
) -> None:
    """Returns when `ready` says so; a server that ends or takes too long is a `StackTrouble` with its last lines."""
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        if (code := child.poll()) is not None:
            raise StackTrouble(
                step,
                f"ended with code {code}; its last lines:\n{tail(log)}",
                way_out=f"Its whole log: {log}",
            )
        if time.monotonic() > deadline:
            raise StackTrouble(
                step,
                f"not ready after {timeout_seconds:.0f} s; its last lines:\n{tail(log)}",
            )
        time.sleep(LOOK_SECONDS)


def listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0
