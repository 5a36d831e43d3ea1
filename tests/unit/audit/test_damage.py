"""What a disk does to a page or a file is a finding of `verify`; what is wrong with a server is not."""

import asyncpg
import pytest

from services.audit.verdict import Verified
from services.audit.verify import UNREADABLE, naming_damage


@pytest.mark.parametrize(
    "damage",
    [asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError, asyncpg.PostgresIOError, asyncpg.UndefinedFileError],
)
def test_what_the_disk_does_not_give_is_named_with_its_place(damage: type[asyncpg.PostgresError]) -> None:
    verified = Verified()

    with naming_damage(verified, lambda: "7:20418"):
        raise damage("could not read block 0")

    (problem,) = verified.problems
    assert problem.place == "7:20418"
    assert problem.what == f"{UNREADABLE} PostgreSQL says: could not read block 0"


def test_a_server_that_goes_away_is_no_damage() -> None:
    verified = Verified()

    with pytest.raises(asyncpg.AdminShutdownError), naming_damage(verified, lambda: "facts"):
        raise asyncpg.AdminShutdownError

    assert verified.problems == []
