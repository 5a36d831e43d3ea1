"""`make up`, `make down`, `make clean`: the stack and every process in the background.

    .creditwell/up.json    who owns what runs, and what it tells other programs; gone when it is
    .creditwell/up.env     for a shell: the API, the first team and its tokens, and our commands; gone with it
    .creditwell/up.log     what it said since

`up` starts itself once more as that owner, in a session of its own, and passes on what it says until everything is
ready.
"""

import importlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from deploy.local.folders import ROOT, STATE, remove_all
from deploy.local.owners import DOWN_SECONDS, end, living_owner, ourselves, owners
from deploy.local.processes import Processes
from deploy.local.say import Say, speaker
from deploy.local.stack import Stack, start_stack
from deploy.local.trouble import StackTrouble, tail

UP = STATE / "up.json"
ENVIRONMENT = STATE / "up.env"
LOG = STATE / "up.log"
WORLD = "deploy.local.world"
READY = "READY "
USAGE = "usage: python -m deploy.local up | down | clean"


def main(arguments: list[str]) -> int:
    """0 done · 1 it did not work, and said why · 2 used wrongly."""
    verbs = {"up": up, "down": down, "clean": clean, "own": own}
    if len(arguments) != 1 or arguments[0] not in verbs:
        print(USAGE, file=sys.stderr)
        return 2
    say = speaker(sys.stdout if arguments == ["own"] else None)
    STATE.mkdir(exist_ok=True)
    try:
        verbs[arguments[0]](say)
    except StackTrouble as trouble:
        say(str(trouble))
        return 1
    return 0


def up(say: Say) -> None:
    """Start everything with an empty log; the last line is one JSON object for other programs.

    Raises:
        StackTrouble: the owner ended before everything was ready.
    """
    if addresses := addresses_by_owner():
        say("Stack: is up already; `make down` first for one with an empty log")
        print(json.dumps(addresses), flush=True)
        return
    with LOG.open("w") as log:
        owner = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "own"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
            text=True,
        )
    assert owner.stdout is not None
    try:
        for line in owner.stdout:
            if line.startswith(READY):
                print(line.removeprefix(READY).rstrip("\n"), flush=True)
                return
            say(line.rstrip("\n"))
    except KeyboardInterrupt:
        owner.terminate()
        raise
    code = owner.wait(DOWN_SECONDS)
    raise StackTrouble("Stack", f"could not be started (code {code}); the end of {LOG}:\n{tail(LOG)}")


def down(say: Say) -> None:
    """Stop what `up` started; nothing to do is fine."""
    owner = living_owner(UP)
    if owner is None:
        say("Stack: is not up")
        return
    end(owner)
    UP.unlink(missing_ok=True)
    say("Stack: is down")


def clean(say: Say) -> None:
    """Stop every stack of this checkout, whoever started it, and remove what they left."""
    for owner in set(owners()):
        say(f"Stack: stopping {owner.name} (process {owner.pid})")
        end(owner)
    remove_all()
    shutil.rmtree(STATE)


def own(say: Say) -> None:
    """The process in the background.

    `up` reads its standard output until everything is ready; its standard error is the log.
    """
    signal.signal(signal.SIGTERM, leave)

    def announce(line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        say(line)

    with (
        start_stack(say=announce, name="up") as stack,
        Processes(stack, say=announce) as processes,
        world(stack, processes, announce) as addresses,
    ):
        UP.touch(mode=0o600)  # it has passwords and keys in it
        UP.write_text(json.dumps({"owner": ourselves("up").as_json(), "addresses": dict(addresses)}))
        ENVIRONMENT.touch(mode=0o600)
        ENVIRONMENT.write_text(shell_variables(addresses))
        try:
            print(READY + json.dumps(dict(addresses)), flush=True)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # `up` has gone
            while True:
                signal.pause()
        finally:
            UP.unlink(missing_ok=True)
            ENVIRONMENT.unlink(missing_ok=True)


@contextmanager
def world(stack: Stack, processes: Processes, say: Say) -> Iterator[Mapping[str, Any]]:
    """Every process of ours on the stack, and what other programs should know of it.

    `deploy.local.world` says how.
    """
    with importlib.import_module(WORLD).run_world(stack, processes, say=say) as addresses:
        yield addresses


def shell_variables(addresses: Mapping[str, Any]) -> str:
    """The API, the first team and its tokens, for a shell to read: what the README's commands use.

    The database is a reader's: its commands ask, and change nothing. `creditwell` comes last on the path, so that
    nobody's own Python is another one.
    """
    team = addresses["teams"][0]
    tokens = team["tokens"]
    variables = {"API": addresses["api"], "TEAM": team["id"], "CREDITWELL_DATABASE": addresses["database_reader"]} | {
        f"{role.upper()}_TOKEN": tokens[role] for role in ("member", "service", "operator")
    }
    path = f'export PATH="$PATH":{shlex.quote(str(ROOT / ".venv/bin"))}\n'
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()) + path


def addresses_by_owner() -> dict[str, Any] | None:
    if living_owner(UP) is None:
        return None
    state: dict[str, Any] = json.loads(UP.read_text())["addresses"]
    return state


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """Through every block that stops something."""
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
