"""The API's bodies as types for the page: derived, complete, and known to be out of date when they are."""

from pathlib import Path

import pytest

from services.api.openapi.typescript import CLIENT_FILE, FILE, main


def test_a_file_that_is_out_of_date_is_named_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, client_file = tmp_path / "api.d.ts", tmp_path / "bodies.d.ts"
    file.write_text("declare namespace Api {}\n")
    client_file.write_text("export {}\n")

    assert main(["--check"], file, client_file) == 1
    told = capsys.readouterr().err
    assert "api.d.ts is out of date" in told
    assert "bodies.d.ts is out of date" in told
    assert main([], file, client_file) == 0
    assert main(["--check"], file, client_file) == 0
    assert file.read_text("utf-8") == FILE.read_text("utf-8")
    assert client_file.read_text("utf-8") == CLIENT_FILE.read_text("utf-8")


@pytest.mark.parametrize(
    "said",
    [
        "    next_refill_at: string | null;\n",
        "    receipt_url?: string | null;\n",
        "    members: Record<string, string>;\n",
        '    state: "off" | "on" | "charging" | "action_required" | "suspended";\n',
        "    [path: `/entries/${string}`]: Entry;\n",
        '    "v1/packs": Pack[];\n',
        '    "PUT /top-up": { body: TopUpBody; answer: TopUp };\n',
    ],
)
def test_types_say_what_may_be_absent_or_null_and_which_words_there_are(said: str) -> None:
    assert said in FILE.read_text("utf-8")


def test_what_only_services_and_operators_may_ask_for_is_not_in_the_page_s_types() -> None:
    text = FILE.read_text("utf-8")

    assert "unknown" not in text.replace('"unknown_feature"', "")
    assert "GrantBody" not in text
    assert "v1/usage" not in text


@pytest.mark.parametrize(
    "said",
    [
        "export interface Balance {\n",
        "  next_refill_at: string | null;\n",
        "  items: ActivityItem[];\n",
        'export type HoldState = "open" | "settled" | "released" | "expired";\n',
    ],
)
def test_the_client_s_types_are_a_module_of_what_its_calls_answer(said: str) -> None:
    text = CLIENT_FILE.read_text("utf-8")

    assert said in text
    assert "Statement" not in text
