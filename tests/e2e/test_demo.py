"""The demo: what a newcomer sees first, and what it claims at its end."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from uuid import uuid4

import psutil
import pytest

from deploy.local.demo import stopped_by_ctrl_c
from deploy.local.demo.checks import judge
from deploy.local.demo.figures import DemoFigures
from deploy.local.demo.reported import ReportedWork
from deploy.local.folders import ROOT
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import CreditsToppedUp
from services.store.identities import Identity
from tests.support.waiting import until_in_a_thread

MARK = "THE_DEMO_OF_THIS_TEST"
DEMO = [sys.executable, "-m", "services.cli", "demo"]
PLAYED_SECONDS = 3_600  # longer than anybody watches
SEEN = ("topped up", "began a new cycle", "ran out of credits")
FIGURES = re.compile(r"(?P<usages>[\d,]+) usages .* (?P<refused>\d+) refused")
PATIENCE_SECONDS = 150


@pytest.fixture
def mark() -> str:
    return str(uuid4())


def marked(mark: str) -> list[psutil.Process]:
    return list(_marked(mark))


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue


def test_ctrl_c_ends_the_demo_and_all_that_must_hold_holds_and_nothing_is_left_running(mark: str) -> None:
    with subprocess.Popen(
        [*DEMO, "--seconds", str(PLAYED_SECONDS), "--json"],
        cwd=ROOT, env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        assert demo.stderr is not None
        said, unseen = [], set(SEEN)
        for line in demo.stderr:
            said.append(line)
            unseen -= {sight for sight in unseen if sight in line}
            if not unseen and played_enough(line):
                demo.send_signal(signal.SIGINT)
                break
        said += demo.stderr.readlines()
        written, code = demo.stdout.read(), demo.wait(PATIENCE_SECONDS)
    assert code == 0, written + "".join(said)
    assert "All of it holds." in said[-1]
    assert any(f"ends by itself after {PLAYED_SECONDS} s" in line for line in said)
    assert any("/usage#token=" in line for line in said)
    summary = json.loads(written)
    assert summary["holds"]
    assert summary["usages"] > 200
    assert summary["duplicates"] > 0
    assert summary["notices"] > 0
    assert summary["conflicts"] > 0
    assert len(summary["refused"]) > 10
    assert summary["top_ups"] >= 1
    assert summary["purchases"] == 1
    until_in_a_thread(lambda: not marked(mark), what="nothing of it runs any more")


def played_enough(line: str) -> bool:
    """Whether a line of figures says that more than ten kinds of nonsense were refused, as after twenty, and much used."""
    figures = FIGURES.search(line)
    return figures is not None and int(figures["usages"].replace(",", "")) > 200 and int(figures["refused"]) >= 20


async def test_the_demo_ends_by_itself_after_its_seconds() -> None:
    stop = asyncio.Event()
    with stopped_by_ctrl_c(stop, or_after_seconds=None):
        await asyncio.sleep(0)
        assert not stop.is_set()
    with stopped_by_ctrl_c(stop, or_after_seconds=0):
        await asyncio.wait_for(stop.wait(), PATIENCE_SECONDS)


CATALOG, LOW = load_catalog(), "balance.ran_low.v1"
FIRST, SECOND = Identity("team_a", "/features/a", "1"), Identity("team_a", "/features/a", "2")
VOID = Identity("team_a", "/features/a", "3")
TOP_UP = CreditsToppedUp(
    credits=500 * MICRO, attempt_id="attempt", payment_intent_id="pi_1", charge_cents=500, currency="usd"
)


def honest() -> tuple[ReportedWork, DemoFigures]:
    """Two usages, one taken back; a duplicate, a conflict, a refusal; a top-up: and all of it as it should be."""
    said = ReportedWork(
        usages={FIRST: 5, SECOND: 7}, voids={VOID: FIRST}, refusals=Counter(not_json=1), duplicates=1, conflicts=1
    )
    entries = {"usage": -12, "usage_voided": 5, "top_up": 500 * MICRO}
    stored = {(1, position) for position in range(1, 5)}
    found = DemoFigures(
        records=6, usages={FIRST: 5, SECOND: 7}, voids={VOID: FIRST}, voided_credits=5, refusals=Counter(not_json=1),
        duplicates=1, conflicts=1, top_ups=[TOP_UP], charges={"pi_1": 500}, entries={"team_a": entries},
        counts=Counter(usage=2, usage_voided=1, top_up=1), balances={"team_a": sum(entries.values())},
        answers={"team_a": sum(entries.values())}, stored=stored, published=set(stored), refused_published=2,
        verified={"ok": True, "facts": 4, "blocks": 4, "signatures": "checked"},
        replayed={"ok": True, "facts": 4, "teams": 1},
        to_tell=Counter({LOW: 1, "usage.recorded.v1": 0}), host_notices=Counter({LOW: 1}),
    )  # fmt: skip
    return said, found


def failed(said: ReportedWork, found: DemoFigures) -> list[str]:
    return [check.name for check in judge(said, found, CATALOG) if not check.holds]


def test_an_honest_outcome_passes_every_check() -> None:
    assert failed(*honest()) == []


def test_a_report_that_an_emitter_sent_twice_is_one_more_duplicate_and_no_fault() -> None:
    said, found = honest()
    found.records += 1
    found.duplicates += 1
    assert failed(said, found) == []


RECORDS, REFUSED, USAGE = (
    "Every record is accounted for", "Nonsense is refused, with its reason", "Usage is counted once, to the last decimal",
)  # fmt: skip
VOIDS, ENTRIES, API = (
    "What was taken back is paid back",
    "Balances are the sum of what happened",
    "The API says the same",
)
CHARGES, PUBLISHED = "Charges are purchases and top-ups, to the cent", "Everything stored is published"
TOLD = "The host product is told, once per crossing"
LOG, REPLAY = "The log is what was recorded", "Replay gives the same"

BROKEN: dict[str, tuple[Callable[[DemoFigures], object], set[str]]] = {
    "a record is lost": (lambda found: found.usages.pop(SECOND), {RECORDS, USAGE}),
    "a duplicate is counted twice": (lambda found: found.usages.update({VOID: 7}), {RECORDS, USAGE}),
    "a usage is priced wrongly": (lambda found: found.usages.update({FIRST: 6}), {USAGE}),
    "a usage is not taken off the balance": (
        lambda found: found.entries["team_a"].update(usage=-7),
        {USAGE, ENTRIES},
    ),
    "a void returns too much": (lambda found: found.entries["team_a"].update(usage_voided=6), {VOIDS, ENTRIES}),
    "a refusal names another reason": (
        lambda found: found.refusals.update({"not_json": -1, "wrong_shape": 1}),
        {REFUSED},
    ),
    "a conflict is taken for a duplicate": (
        lambda found: found.__dict__.update(conflicts=0, duplicates=2),
        {RECORDS},
    ),
    "a balance is not the sum of its entries": (lambda found: found.balances.update(team_a=1), {ENTRIES, API}),
    "the API says something else": (lambda found: found.answers.update(team_a=1), {API}),
    "a charge brings no credits": (lambda found: found.charges.update(pi_2=500), {CHARGES}),
    "credits come without a charge": (lambda found: found.charges.clear(), {CHARGES}),
    "a charge has another price": (lambda found: found.charges.update(pi_1=499), {CHARGES}),
    "an intent is credited twice": (lambda found: found.top_ups.append(TOP_UP), {CHARGES}),
    "a fact is not published": (lambda found: found.published.discard((1, 4)), {PUBLISHED}),
    "a fact is published that is not stored": (lambda found: found.published.add((1, 9)), {PUBLISHED}),
    "a refused record is not published": (lambda found: found.__dict__.update(refused_published=1), {PUBLISHED}),
    "a notice is lost": (lambda found: found.host_notices.clear(), {TOLD}),
    "a crossing is told twice": (lambda found: found.host_notices.update([LOW]), {TOLD}),
    "somebody else sends notices": (lambda found: found.__dict__.update(forged=1), {TOLD}),
    "the log was changed": (lambda found: found.verified.update(ok=False), {LOG}),
    "replay finds a difference": (lambda found: found.replayed.update(ok=False), {REPLAY}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_demo_fails_and_names_what_is_wrong_when(what: str) -> None:
    said, found = deepcopy(honest())
    spoil, names = BROKEN[what]
    spoil(found)
    assert set(failed(said, found)) == names
