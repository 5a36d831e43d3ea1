"""What a verification read and found, and how much its verdict rests on."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple


class LogProblem(NamedTuple):
    """A place in the log, or a checkpoint, with what is wrong there."""

    place: str
    what: str


class Witnessed(NamedTuple):
    """The newest word of a witness outside: when it saw the anchor, by its clock, and when that was signed, by ours."""

    at: datetime
    signed_at: datetime


@dataclass(slots=True)
class Verified:
    """What was read, and what is wrong.

    Attributes:
        facts: how many were read.
        verified_before: how many were not, because a checkpoint that was verified before covers them.
        blocks: how many were read.
        checkpoints: how many signed notes were read.
        anchors: how many anchors were read.
        signed: how many facts the newest note covers.
        signed_at: when that note was signed.
        signed_by: the key that signed it, of those that are known.
        anchored_at: when the newest anchor was signed; None where there is none that is right.
        witnesses: of each witness outside that was asked for, its newest word that holds.
        signatures_checked: whether any key is known.
        problems: what is wrong, up to a limit.
        more: how many problems are not listed.
    """

    facts: int = 0
    verified_before: int = 0
    blocks: int = 0
    checkpoints: int = 0
    anchors: int = 0
    signed: int = 0
    signed_at: datetime | None = None
    signed_by: str | None = None
    anchored_at: datetime | None = None
    witnesses: dict[str, Witnessed | None] = field(default_factory=dict)
    signatures_checked: bool = False
    problems: list[LogProblem] = field(default_factory=list)
    more: int = 0

    def and_rest(self, rest: "Verified") -> "Verified":
        """This, of exports, with what was found in the database after them."""
        return replace(
            rest,
            facts=self.facts + rest.facts,
            verified_before=0,
            blocks=self.blocks + rest.blocks,
            checkpoints=self.checkpoints + rest.checkpoints,
            problems=self.problems + rest.problems,
            more=self.more + rest.more,
        )

    @property
    def basis(self) -> str:
        """How much the verdict rests on, the strongest that holds."""
        if self.anchored_at is not None:
            by_others = "".join(
                f"; by {name}, newest at {_utc(word.at)}" for name, word in self.witnesses.items() if word is not None
            )
            return f"anchored outside, newest at {_utc(self.anchored_at)}{by_others}"
        if self.signed_by is not None:
            return f"signed by {self.signed_by}"
        return "consistent with itself"


def what_is_missing(
    verified: Verified, now: datetime, max_unsigned: timedelta, *, anchors_wanted: bool
) -> list[LogProblem]:
    """What the verdict should rest on and does not: a key, a note, an anchor, and none of them too old."""
    missing = []
    if not verified.signatures_checked:
        missing.append(LogProblem("signatures", "no key is known: give --public-key, or --unsigned to do without"))
    if verified.signed_at is None:
        if verified.facts:
            missing.append(
                LogProblem("checkpoints", "there are facts and no signed checkpoint: is the signer at work?")
            )
    elif now - verified.signed_at > max_unsigned:
        what = f"the newest is of {_utc(verified.signed_at)}, older than --max-unsigned: is the signer at work?"
        missing.append(LogProblem("checkpoints", what))
    if verified.facts or verified.verified_before:
        outside = {"anchors": verified.anchored_at} if anchors_wanted else {}
        outside |= {name: word and min(word) for name, word in verified.witnesses.items()}
        for name, newest in outside.items():
            if newest is None:
                missing.append(LogProblem(name, "the folder has none that holds"))
            elif now - newest > max_unsigned:
                missing.append(LogProblem(name, f"the newest is of {_utc(newest)}, older than --max-unsigned"))
    return missing


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
