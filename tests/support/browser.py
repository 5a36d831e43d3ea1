"""A real Chromium for the tests of the page: the system's, or the one that Playwright has brought."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Playwright, async_playwright

# The shell has no windows to draw: a page costs half of the processor time that it costs a whole browser.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Quiet where there is no network beyond this machine.
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
ABSENT = "no Chromium is installed: the page was not tested (apt-get install chromium, or playwright install chromium)"


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    """A browser; where there is none, the test is skipped with a line that says so, and fails under CI=true."""
    async with async_playwright() as playwright:
        program = _program(playwright)
        if program is None:
            if os.environ.get("CI") == "true":
                pytest.fail(ABSENT)
            pytest.skip(ABSENT)
        browser = await playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


def _program(playwright: Playwright) -> str | None:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    own = playwright.chromium.executable_path
    return found or (own if Path(own).exists() else None)
