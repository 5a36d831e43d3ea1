"""A statement on paper and on a phone: it is readable to the last cell, in both languages, however many pages it has."""

import re
from io import BytesIO
from typing import Any, Literal
from unicodedata import normalize

import pytest
from playwright.async_api import Browser, Page, ViewportSize
from pypdf import PdfReader

from services.api.wording.statement_page import COLUMNS, PageNames, statement_page
from services.api.wording.statement_words import WORDS, StatementWords
from tests.e2e.test_page_for_everybody import findings
from tests.unit.api.test_statement_page import told

LINES = 70
PHONE = ViewportSize(width=360, height=740)
IN_BOTH = pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
# What is cut off, or stands beside the screen.
OUTSIDE = """() => [...document.querySelectorAll("td, th, caption, p, h1")].filter((element) => {
    const { left, right } = element.getBoundingClientRect();
    return getComputedStyle(element.closest("thead") ?? element).position !== "absolute"
        && (left < 0 || right > innerWidth || element.scrollWidth > Math.ceil(right - left) + 1);
}).map((element) => element.outerHTML.slice(0, 120))"""


def a_long_statement() -> dict[str, Any]:
    """Of a team that did much: every table has lines, one more than a page."""
    made = told()
    (payment,) = made["payments"]
    (feature,) = made["by_feature"]
    made["opening"]["total"] = "-1234567.25"
    made["by_feature"] = [
        feature
        | {"components": [feature["components"][0] | {"name": f"AI video, {n}-fold", "credits": "98765.432101"}]}
        for n in range(LINES)
    ]
    made["payments"] = [
        payment | {"payment": f"pi_3QkZ8xLkdIwHu7ix{n:08d}", "gross": "1234.56", "refunded": "119.00", "won_back": "119.00"}
        for n in range(LINES)
    ]  # fmt: skip
    made["late"] = [{"cycle": -2, "entries": 4, "credits": "12.5"}]
    made["corrections"] *= 3
    return made


async def opened(page: Page, words: StatementWords) -> None:
    names = PageNames("Northlight Filmproduktionsgesellschaft mbH", {"mem_7": "Ada Lovelace-Westerhagen"}, {})
    await page.set_content(statement_page(a_long_statement(), names, words))


@IN_BOTH
async def test_a_phone_shows_all_of_it_and_axe_finds_nothing(browser: Browser, words: StatementWords) -> None:
    page = await browser.new_page(viewport=PHONE)
    await opened(page, words)

    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert await page.evaluate(OUTSIDE) == []
    assert await findings(page) == []
    await page.close()


@IN_BOTH
@pytest.mark.parametrize("paper", ["A4", "Letter"])
async def test_on_paper_each_page_has_the_names_of_its_columns_and_no_line_is_torn(
    browser: Browser, words: StatementWords, paper: Literal["A4", "Letter"]
) -> None:
    page = await browser.new_page()
    await opened(page, words)
    pages = [flat(one.extract_text()) for one in PdfReader(BytesIO(await page.pdf(format=paper))).pages]
    await page.close()

    assert len(pages) > 3
    for table, of_a_line in (("features", r"AI video, \d+-fold"), ("payments", r"1[.,]234[.,]56\b")):
        counts = [len(re.findall(of_a_line, text)) for text in pages]
        assert sum(counts) == LINES
        heads = [words.columns[column.lstrip("#@=")] for column in COLUMNS[table]]
        assert sum(count > 0 for count in counts) > 1
        assert [
            text for text, count in zip(pages, counts, strict=True) if count and not all(head in text for head in heads)
        ] == []
    # Of a payment the first and the last words are on one page: its amount, and what came back of it.
    back = re.compile(rf"{words.columns['won_back']}\s+{re.escape(words.number('119.00'))}")
    assert [len(back.findall(text)) for text in pages] == [len(re.findall(r"1[.,]234[.,]56\b", text)) for text in pages]


def flat(text: str) -> str:
    """Without ends of lines, and without letters that are printed as one, as fl is."""
    return " ".join(normalize("NFKC", text).split())
