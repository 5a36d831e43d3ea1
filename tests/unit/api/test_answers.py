"""A tag names what was read, whoever has changed the headers on the way."""

import pytest

from services.api.answers import names


@pytest.mark.parametrize(
    "lines",
    [
        ['"7"'], ['W/"7"'], ['"7-gzip"'], ['W/"7-br"'], ['"7;gz"'], ["*"], [" * "], ['"1","7"'], ['"1", W/"7"'], ['"1"', '"7"'],
        [',"7",, '], ['"a,b" , "7"'], ['"", "7"'],
    ],
)  # fmt: skip
def test_a_tag_is_named_alone_in_a_list_in_several_lines_and_by_a_star(lines: list[str]) -> None:
    assert names(lines, '"7"')


@pytest.mark.parametrize(
    "lines",
    [['"8"'], ['W/"77"'], ["7"], ["W/7"], ['w/"7"'], [""], [], ['"7'], ['"1" "7"'], ['"1", *'], ['"1,7"'], ['"7-zip"'], ['"7" x']],
)  # fmt: skip
def test_another_tag_and_what_is_no_list_of_tags_name_nothing(lines: list[str]) -> None:
    assert not names(lines, '"7"')


def test_a_long_header_is_read_in_one_pass() -> None:
    assert not names(["," * 30_000 + '"'], '"7"')
    assert not names(['"1",' * 10_000 + "x"], '"7"')
