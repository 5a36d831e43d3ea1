"""The words of the page, as the reader's language and clock write them."""

from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.api import Api
from tests.support.page import visiting


async def answers(running: Api, browser: Browser, calls: str, **reader: Any) -> list[object]:
    """What the words of a reader's language answer to calls, in their browser."""
    async with visiting(running, browser, **reader) as visit:
        await visit.page.goto(f"{running.url}/usage")
        answered: list[object] = await visit.page.evaluate(
            "async () => { const { wordsIn } = await import('/usage/language.js');"
            f" const words = await wordsIn(navigator.language); return [{calls}]; }}"
        )
        return answered


@pytest.mark.parametrize(
    ("now", "then", "words"),
    [
        ("2026-11-30T13:00", "2026-12-02T00:00", "in 2 days"),
        ("2026-11-30T22:00", "2026-12-01T23:30", "tomorrow"),
        ("2026-11-30T01:00", "2026-12-08T23:00", "in 8 days"),
        ("2026-11-30T13:00", "2026-12-01T12:00", "in 23 hours"),
        ("2026-03-28T12:00", "2026-03-30T00:00", "in 2 days"),  # a day of 23 hours lies between
        ("2026-11-30T13:00", "2026-11-30T13:20", "in 20 minutes"),
    ],
)
async def test_how_long_until_a_date_is_counted_as_a_calendar_does(
    running: Api, browser: Browser, now: str, then: str, words: str
) -> None:
    calls = f"words.until('{then}', new Date('{now}'))"

    assert await answers(running, browser, calls, timezone_id="Europe/Berlin") == [words]


@pytest.mark.parametrize(
    ("locale", "said"),
    [
        ("en-US", ["in 30 days", "November"]),
        ("de-AT", ["in 30 Tagen", "November"]),
        ("ja-JP", ["in 30 days", "November"]),
    ],
)
async def test_words_are_of_one_language_whichever_writes_the_numbers(
    running: Api, browser: Browser, locale: str, said: list[str]
) -> None:
    """What is not translated is English: "30 日後" within an English sentence is neither."""
    calls = "words.until('2026-12-30T12:00', new Date('2026-11-30T12:00')), words.inMonth('2026-11')"

    told = await answers(running, browser, calls, locale=locale, timezone_id="Asia/Tokyo")
    assert told == said


async def test_one_is_called_one(running: Api, browser: Browser) -> None:
    image = "{ per: 'use', unit: 'image' }"
    calls = f"""words.inCredits('1'), words.inCredits('-1'), words.inCredits('1.5'), words.inCredits('0'),
        words.units({image}, '1'), words.units({image}, '2'), words.units({{ per: 'gb_day' }}, '')"""

    told = ["1 credit", "−1 credit", "1.5 credits", "0 credits", "image", "images", "GB-days"]
    assert await answers(running, browser, calls) == told
