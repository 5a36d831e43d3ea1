"""The page on calls of models: each of its programs is run, against an API and providers that stand in."""

import ast
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

import schemas.emitter
from deploy.client.creditwell_client.metering import counts, wrapping
from schemas.rates import parse_rate_card
from services.cli import app
from tests.support.client_api import ClientApi, an_api
from tests.support.model_provider import ModelProvider, a_provider, vectors
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/model-calls.md").read_text("utf-8")
MODELS = ROOT / "tests/unit/cli/models.json"  # a small part of the list
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
WITHOUT_LITELLM = [block for block in PYTHON if "litellm" not in block]  # that is run by `make outside-checks`
RESPONSE, MESSAGE = vectors("openai")["response"], vectors("anthropic")["message"]
CHAT_STREAMED = vectors("openai")["chat, streamed"]


@pytest.fixture
def api() -> Iterator[ClientApi]:
    with an_api() as api:
        yield api


@pytest.fixture
def provider() -> Iterator[ModelProvider]:
    with a_provider() as provider:
        yield provider


@pytest.fixture
def page(
    api: ClientApi, provider: ModelProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """The names that the programs of the page leave behind, one after the other."""
    monkeypatch.syspath_prepend(str(ROOT / "deploy/client"))
    monkeypatch.setitem(sys.modules, "creditwell_emitter.emitter", schemas.emitter)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "CREDITWELL_TOKEN"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{provider.url}/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url)
    names: dict[str, Any] = {}
    for block in WITHOUT_LITELLM:
        exec(block.replace("https://credits.example.com", api.url).replace("/var/spool", str(tmp_path)), names)
    yield names
    names["emitter"].close()


def captured(api: ClientApi) -> list[Any]:
    """The items of each capture."""
    return [body["items"] for _, body in api.captures]


async def test_an_answer_of_each_provider_is_captured_with_what_it_used(
    page: dict[str, Any], api: ClientApi, provider: ModelProvider
) -> None:
    provider.answers = [RESPONSE, MESSAGE]
    async with page["credits"]:
        assert await page["answer"]("team_42", "mem_7", "Which?") == "Blue whales."
        assert await page["answer_of_claude"]("team_42", "mem_7", "Which?") == "Blue whales."

    told = [[(item["attributes"]["model"], item["quantities"]) for item in items] for items in captured(api)]
    assert told == [
        [("gpt-5", {name: str(count) for name, count in RESPONSE["quantities"].items()})],
        [("claude-opus-4-1", {name: str(count) for name, count in MESSAGE["quantities"].items()})],
    ]


async def test_the_service_streams_and_says_no_before_it_begins(
    page: dict[str, Any], api: ClientApi, provider: ModelProvider
) -> None:
    provider.answers = [CHAT_STREAMED]
    asked = {"team": "team_42", "member": "mem_7", "kind": "quick", "question": "Which?"}
    transport = httpx2.ASGITransport(page["app"])
    async with page["credits"], httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.get("/answers", params=asked)
        api.places = 402, {"code": "exhausted", "detail": "no"}
        refused = await client.get("/answers", params=asked)

    assert answer.text == 'Blue "usage" whales.'
    assert (refused.status_code, refused.json()) == (402, {"detail": "exhausted"})
    ((item,),) = captured(api)
    assert (item["attributes"], item["quantities"]["output_token"]) == ({"model": "gpt-5-mini"}, "300")
    assert len(provider.asked) == 1


async def test_usage_without_a_hold_is_reported(page: dict[str, Any], api: ClientApi, provider: ModelProvider) -> None:
    provider.answers = [RESPONSE]
    await page["summary"]("team_42", "Whales are large.")

    async def reported() -> bool:
        return bool(api.reported)

    await until(reported, what="the usage arrives")
    assert (api.reported[0]["subject"], api.reported[0]["data"]["attributes"]) == ("team_42", {"model": "gpt-5"})


async def test_a_service_may_charge_at_least_something(
    page: dict[str, Any], api: ClientApi, provider: ModelProvider
) -> None:
    provider.answers = [{"body": RESPONSE["body"] | {"usage": None}}]
    async with page["credits"]:
        await page["answer_or_at_least"]("team_42", "mem_7", "Which animal is the largest?")

    assert [items[0]["quantities"] for items in captured(api)] == [{"input_token": "7"}]


def test_a_card_is_made_with_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_prices_and_context_window.json").write_bytes(MODELS.read_bytes())
    (commands,) = re.findall(r"^```sh\n(creditwell .*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    seed, check, publish = (shlex.split(line) for line in commands.splitlines())
    for command in (seed, check):
        done = CliRunner().invoke(app, command[1:-1])
        assert done.exit_code == 0, done.output
        (tmp_path / command[-1].removeprefix(">")).write_text(done.stdout)

    card = parse_rate_card(json.loads((tmp_path / publish[-1].removeprefix("@")).read_bytes()))

    assert card.version == 2
    assert publish[2] == "$API/v1/rate-cards"
    assert [rate.attributes for rate in card.categories[0].features[0].rates] == [{"model": "gpt-5"}]


def test_the_callback_for_litellm_is_called_as_it_is_defined() -> None:
    (block,) = set(PYTHON) - set(WITHOUT_LITELLM)
    called = next(
        node for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UsageCallback"
    )  # fmt: skip
    defined = (ROOT / "deploy/client/creditwell_client/metering/litellm.py").read_text("utf-8")

    assert all(f"{keyword.arg}: " in defined for keyword in called.keywords)
    assert all(f'"{name}"' in defined for name in re.findall(r'"(creditwell_\w+)"', block))


def test_spans_are_added_up(page: dict[str, Any]) -> None:
    (row,) = page["tokens"].report()

    assert (row.by, row.quantities) == (("team_42",), {"input_token": 1200, "output_token": 350})


def test_the_page_names_each_client_that_is_wrapped_and_each_quantity() -> None:
    assert all(f"`{quantity}`" in PAGE or f'"{quantity}"' in PAGE for quantity in [*counts.PRICED, *counts.WHOLES])
    assert all(name in PAGE for names in wrapping.PROVIDERS.values() for name in names if not name.startswith("Async"))


def test_the_mcp_server_of_the_page_is_the_one_of_the_wheel() -> None:
    (config,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    server = SimpleNamespace(**json.loads(config)["mcpServers"]["creditwell"])
    source = (ROOT / "deploy/client/creditwell_client/mcp_server.py").read_text("utf-8")

    assert f'{server.command} = "creditwell_client.mcp_server:main"' in (
        ROOT / "deploy/client/pyproject.toml"
    ).read_text("utf-8")
    assert all(f'"{word}"' in source for word in [*server.args[::2], *server.env])
