"""What witnesses said of the anchors, for `verify`."""

from collections.abc import Sequence
from pathlib import Path

from services.audit.anchors import parse_anchor, read_anchor
from services.audit.checkpoints import NoteInvalid
from services.audit.outside.witness import Attestor, WitnessFailed, word_beside
from services.audit.verdict import LogProblem, Verified, Witnessed


def check_words(anchors: Sequence[Path], attestors: Sequence[Attestor], verified: Verified) -> None:
    """Find the newest word that holds of each attestor, on one of these anchors: those that hold, oldest first.

    It covers all that was signed before, so older ones are not looked at. A newer one that does not hold is a problem;
    the newest of these is named.
    """
    for attestor in attestors:
        verified.witnesses[attestor.name] = None
        named = False
        for anchor in reversed(anchors):
            word = word_beside(anchor, attestor)
            if not word.exists():
                continue
            try:
                text = read_anchor(anchor)
                signed_at = parse_anchor(text).vector.signed_at
                verified.witnesses[attestor.name] = Witnessed(attestor.check(text, word.read_bytes()), signed_at)
                break
            except (WitnessFailed, NoteInvalid, OSError) as failed:
                if not named:
                    verified.problems.append(LogProblem(f"anchor {word.name}", str(failed)))
                named = True
