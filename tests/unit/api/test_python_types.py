"""What the API answers as types for the client of Python: derived, and known to be out of date when they are."""

from pathlib import Path

import pytest

from services.api.openapi.python_types import FILE, main


def test_a_file_that_is_out_of_date_is_named_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bodies.py"
    file.write_text("class Balance: ...\n")

    assert main(["--check"], file) == 1
    assert "bodies.py is out of date" in capsys.readouterr().err
    assert main([], file) == 0
    assert main(["--check"], file) == 0
    assert file.read_text("utf-8") == FILE.read_text("utf-8")


@pytest.mark.parametrize(
    "said",
    [
        "    next_refill_at: str | None\n",
        '    state: "HoldState"\n',
        '    items: list["ActivityItem"]\n',
        "HoldState = Literal['open', 'settled', 'released', 'expired']\n",
    ],
)
def test_types_say_what_may_be_absent_and_which_words_there_are(said: str) -> None:
    assert said in FILE.read_text("utf-8")
