"""One real stack for all tests of the page: API, recorder, projector, relay, top-ups, and the stand-in for Stripe; one browser."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser

from deploy.local.stack import Stack
from services.money import topup
from services.publishing import relay
from services.read_models import projector
from services.runtime.health import Health
from services.runtime.settings_loading import load_settings
from services.usage import consuming
from tests.conftest import a_database
from tests.support.api import Api, an_api, free_port
from tests.support.browser import a_browser
from tests.support.desk import KEY, Desk, a_desk
from tests.support.page import Visit, visiting
from tests.support.world import begin_at, ends_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/e2e/test_screenshots.py --screenshots` writes the pictures of docs/ anew."""
    parser.addoption("--screenshots", action="store_true", help="write the pictures of the page into docs/")


@pytest.fixture(scope="package")
async def desk() -> AsyncIterator[Desk]:
    """The stand-in for Stripe."""
    async with a_desk() as desk:
        yield desk


@pytest.fixture(scope="package")
async def running(stack: Stack, template: str, desk: Desk) -> AsyncIterator[Api]:
    """The API and everything behind it."""
    host = f"http://127.0.0.1:{free_port()}"  # a product's site, in the tests that need one
    settings = {"stripe_key": KEY, "stripe_api": desk.url, "cors_origins": (host,)}
    async with (
        a_database(stack, template) as database,
        an_api(stack, database, **settings) as api,
        workers(stack, api, desk),
    ):
        yield api


@asynccontextmanager
async def workers(stack: Stack, api: Api, desk: Desk) -> AsyncIterator[None]:
    """A recorder, a projector, a relay and a top-up worker.

    Once on a broker: the recorders of a second database would share its partitions, and take usage of the first.
    """
    await begin_at(api.connection, await ends_of(stack.kafka))
    database = api.settings.needed("database").partition("?")[0]
    settings = load_settings(
        kafka=stack.kafka, database=database, insecure_dev=True, stripe_key=KEY, stripe_api=desk.url
    )
    stop = asyncio.Event()
    serving = [
        asyncio.create_task(process.serve(settings, stop, Health(process.__name__)))
        for process in (consuming, projector, relay, topup)
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*serving)


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium."""
    async with a_browser() as browser:
        yield browser


@pytest.fixture
async def visit(running: Api, browser: Browser) -> AsyncIterator[Visit]:
    """A new team, and a browser that nobody has used before."""
    await running.begin()
    async with visiting(running, browser) as visit:
        yield visit
