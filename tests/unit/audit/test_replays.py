"""A replay on all cores leaves connections to others who read."""

import os
import re

import pytest

from deploy.local.folders import ROOT
from services.audit.replays.all_cores import CONNECTIONS_MAX, processes_for
from services.runtime.long_work.cores import WORTH_IT


def test_a_replay_on_many_cores_leaves_connections_of_the_readers_role(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = re.search(
        r"ALTER ROLE creditwell_reader CONNECTION LIMIT ([0-9]+)", (ROOT / "deploy/roles.sql").read_text()
    )
    assert limit is not None
    monkeypatch.setattr(os, "cpu_count", lambda: 64)

    assert processes_for(WORTH_IT) == CONNECTIONS_MAX < int(limit[1])
    assert processes_for(WORTH_IT - 1) == 1
