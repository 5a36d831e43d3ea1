"""Reports that the API will never take: kept beside the spool, for a person to look at."""

import json
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .spool import SpoolBatch
from .verdicts import RefusedReport

logger = logging.getLogger(__name__)


class RefusedReports:
    """The file `refused.jsonl` of a spool: a line for each report, with why; after a crash perhaps two."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "refused.jsonl"

    def keep(self, batch: SpoolBatch, refusals: Sequence[RefusedReport]) -> None:
        """They are on the disk when this returns. Raises OSError."""
        now = datetime.now(UTC).isoformat()
        kept = [(json.loads(batch.records[refusal.index].value), refusal) for refusal in refusals]
        with self.path.open("a") as file:
            for event, refusal in kept:
                why = {"status": refusal.status, "code": refusal.code, "detail": refusal.detail}
                file.write(json.dumps({"refused_at": now, **why, "event": event}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for event, refusal in kept:
            logger.error(
                "report %s of team %s was refused, and is kept in %s: %s: %s",
                event.get("id"), event.get("subject"), self.path, refusal.code, refusal.detail,
            )  # fmt: skip
