"""A port that one process has chosen is nobody else's: two workers of the tests start servers at the same time."""

import socket
import subprocess
import sys

from deploy.local.folders import ROOT, free_ports, free_ports_in_a_row

ANOTHER = """
import sys
from deploy.local import folders
if wanted := [int(port) for port in sys.argv[1:]]:
    folders.PORTS = range(min(wanted), max(wanted) + 1)
try:
    print(*folders.free_ports(1), flush=True)
except OSError as error:
    print(error, flush=True)
sys.stdin.read()
"""


def another(*wanted: int) -> "subprocess.Popen[str]":
    """A process that takes a port, one of these if there are any, and keeps it until its end."""
    command = [sys.executable, "-c", ANOTHER, *map(str, wanted)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_ports_of_ours_are_given_to_nobody_else() -> None:
    first, second = free_ports_in_a_row(2), free_ports(1)[0]

    for ours in ((first, first + 1), (second,)):
        with another(*ours) as process:
            assert said(process).startswith("no free port")


def test_a_port_is_free_again_when_its_owner_is_killed() -> None:
    with another() as owner:
        port = int(said(owner))
        with another(port) as late:
            assert said(late).startswith("no free port")

        owner.kill()

    with another(port) as heir:
        assert said(heir) == str(port)


def test_a_port_on_which_somebody_listens_who_asked_nobody_is_not_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger, another(stranger.getsockname()[1]) as process:
        assert said(process).startswith("no free port")


def test_the_same_port_is_never_given_twice() -> None:
    ports = free_ports(200)

    assert len({*ports, *free_ports(200)}) == 400
