"""The three kinds of failure, and the tree that every process knows.

Refused        wrong today and tomorrow: say why, keep it, go on
Unavailable    the world is not ready: repeat the same later, lose nothing
anything else  our mistake: the process dies, offsets and checkpoints stay
"""


class Refused(Exception):
    """The request is wrong, and will be wrong tomorrow. `reason` is a stable code, `detail` says what to do."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Unavailable(Exception):
    """The world is not ready. Repeat the same request later. `code` is stable, and the public API's."""

    def __init__(self, detail: str, *, code: str = "unavailable") -> None:
        super().__init__(detail)
        self.code = code


class Fenced(Exception):
    """Somebody else owns this partition or shard now: drop what is in hand and join again."""


class LogChanged(Exception):
    """A topic or a log is not the one that was read before.

    Nothing may be skipped in silence: stop and ask a person.
    """
