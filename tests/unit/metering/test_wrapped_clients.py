"""The real clients of OpenAI and Anthropic, wrapped, against a stand-in for their HTTP: each answer to the token."""

import asyncio
import gc
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from deploy.client.creditwell_client import Client
from deploy.client.creditwell_client.holds import PlannedBlock, SyncHold
from deploy.client.creditwell_client.metering import TeamUsage, UncountedCall, wrap
from tests.support.client_api import an_api
from tests.support.model_provider import ModelProvider, Vector, a_provider, vectors

ROOT = Path(__file__).parents[3]
MESSAGES: Any = [{"role": "user", "content": "Which animal is the largest?"}]
ANSWERS = [(provider, name) for provider in ("openai", "anthropic") for name in sorted(vectors(provider))]
STREAMS = [(provider, name) for provider, name in ANSWERS if "events" in vectors(provider)[name]]
WHOLE = [("openai", "response"), ("anthropic", "message")]
CHAT, CHAT_STREAMED = vectors("openai")["chat, audio"], vectors("openai")["chat, streamed"]
MESSAGE_STREAMED = vectors("anthropic")["message, cache read and written, streamed"]
ITEMS = [{"feature": "ai_chat.answer", "quantities": {"input_token": "1000"}, "attributes": {"model": "large"}}]
OF_STREAM = {"input_token": 86, "cached_input_token": 1920, "output_token": 300}


class Uses:
    """What a hold is told that was used, and the calls that nothing is told of."""

    def __init__(self) -> None:
        self.told: list[dict[str, int]] = []
        self.named: list[tuple[str | None, Any]] = []
        self.uncounted: list[UncountedCall] = []

    def used(self, *, feature: str | None, attributes: Any, **quantities: int) -> None:
        self.named.append((feature, attributes))
        self.told.append(quantities)


def of_openai(provider: ModelProvider, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk", base_url=f"{provider.url}/v1", **({"max_retries": 0} | options))


def of_anthropic(provider: ModelProvider, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="sk", base_url=provider.url, **({"max_retries": 0} | options))


def call_of(client: Any, answer: Vector) -> Any:
    """The answer of a call, of a stream its events; awaitable where the client is asynchronous."""
    stream = "events" in answer
    match answer["call"]:
        case "chat":
            return client.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=stream)
        case "responses":
            return client.responses.create(model="gpt-5", input="Which?", stream=stream)
        case "embeddings":
            return client.embeddings.create(model="text-embedding-3-small", input="Which?")
        case _:
            return client.messages.create(model="claude", max_tokens=99, messages=MESSAGES, stream=stream)


@pytest.mark.parametrize(("library", "name"), ANSWERS)
def test_an_answer_is_counted_to_the_token(library: str, name: str) -> None:
    answer, uses = vectors(library)[name], Uses()
    with a_provider(answer) as provider:
        plain = of_openai(provider) if library == "openai" else of_anthropic(provider)
        client = wrap(plain, uses, uncounted=uses.uncounted.append)
        try:
            result = call_of(client, answer)
            if "events" in answer:
                list(result)
        except (openai.APIError, anthropic.APIError):
            assert answer["fails"]
        plain.close()

    assert uses.told == ([answer["quantities"]] if answer["quantities"] else [])
    assert uses.uncounted == []


@pytest.mark.parametrize(("library", "name"), STREAMS + WHOLE)
async def test_an_answer_that_is_awaited_is_counted_to_the_token(library: str, name: str) -> None:
    answer, uses = vectors(library)[name], Uses()
    with a_provider(answer) as provider:
        plain: Any = (
            openai.AsyncOpenAI(api_key="sk", base_url=f"{provider.url}/v1", max_retries=0)
            if library == "openai"
            else anthropic.AsyncAnthropic(api_key="sk", base_url=provider.url, max_retries=0)
        )
        client = wrap(plain, uses, uncounted=uses.uncounted.append)
        try:
            result = await call_of(client, answer)
            if "events" in answer:
                assert [event async for event in result]
        except (openai.APIError, anthropic.APIError):
            assert answer["fails"]
        await plain.close()

    assert uses.told == ([answer["quantities"]] if answer["quantities"] else [])
    assert uses.uncounted == []


@pytest.fixture
def uses() -> Uses:
    return Uses()


def test_who_did_not_ask_for_usage_does_not_see_it_and_who_did_does(uses: Uses) -> None:
    with a_provider(CHAT_STREAMED) as provider, of_openai(provider) as plain:
        create = wrap(plain, uses).chat.completions.create
        unasked = list(create(model="gpt-5", messages=MESSAGES, stream=True))
        declined = list(
            create(model="gpt-5", messages=MESSAGES, stream=True, stream_options={"include_obfuscation": False})
        )
        asked_for = list(create(model="gpt-5", messages=MESSAGES, stream=True, stream_options={"include_usage": True}))
        untouched = list(plain.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=True))

    assert unasked == declined == untouched
    assert [chunk.usage.total_tokens for chunk in asked_for if chunk.usage] == [2306]
    assert [body.get("stream_options") for _, body in provider.asked] == [
        {"include_usage": True},
        {"include_obfuscation": False, "include_usage": True},
        {"include_usage": True},
        None,
    ]
    assert uses.told == [OF_STREAM] * 3


def parse(client: openai.OpenAI) -> object:
    return client.chat.completions.parse(model="gpt-5", messages=MESSAGES)


def raw(client: openai.OpenAI) -> object:
    return client.chat.completions.with_raw_response.create(model="gpt-5", messages=MESSAGES).parse()


def read_by_hand(client: openai.OpenAI) -> object:
    with client.chat.completions.with_streaming_response.create(model="gpt-5", messages=MESSAGES) as answer:
        return answer.json()


def with_options(client: openai.OpenAI) -> object:
    return client.with_options(timeout=5).chat.completions.create(model="gpt-5", messages=MESSAGES)


@pytest.mark.parametrize("way", [parse, raw, read_by_hand, with_options])
def test_it_does_not_matter_how_the_library_is_called(way: Callable[[openai.OpenAI], object], uses: Uses) -> None:
    with a_provider(CHAT) as provider, of_openai(provider) as plain:
        assert way(wrap(plain, uses))

    assert uses.told == [CHAT["quantities"]]


def test_the_helpers_for_streams_are_metered_too(uses: Uses) -> None:
    with a_provider(CHAT_STREAMED) as provider, of_openai(provider) as plain:
        with wrap(plain, uses).chat.completions.stream(model="gpt-5", messages=MESSAGES) as stream:
            assert stream.get_final_completion().choices[0].message.content == 'Blue "usage" whales.'
    with a_provider(MESSAGE_STREAMED) as provider, of_anthropic(provider) as client:
        with wrap(client, uses).messages.stream(model="claude", max_tokens=99, messages=MESSAGES) as messages:
            assert messages.get_final_text() == "Blue whales."

    assert uses.told == [OF_STREAM, MESSAGE_STREAMED["quantities"]]


def left_by_break(stream: Any) -> None:
    next(iter(stream))
    stream.close()


def left_and_forgotten(stream: Any) -> None:
    next(iter(stream))


@pytest.mark.parametrize("leave", [left_by_break, left_and_forgotten])
def test_a_stream_that_is_left_costs_what_the_provider_has_said_so_far(
    leave: Callable[[Any], None], uses: Uses
) -> None:
    with a_provider(MESSAGE_STREAMED, pauses_after=3) as provider, of_anthropic(provider) as plain:
        client = wrap(plain, uses, uncounted=uses.uncounted.append)
        leave(call_of(client, MESSAGE_STREAMED))
        gc.collect()

    assert uses.told == [
        {"input_token": 50, "cached_input_token": 100_000, "cache_write_token": 248, "output_token": 1}
    ]
    assert uses.uncounted == []


@pytest.mark.parametrize("leave", [left_by_break, left_and_forgotten])
def test_a_stream_that_is_left_before_the_provider_said_anything_costs_nothing_and_is_told(
    leave: Callable[[Any], None], uses: Uses
) -> None:
    with a_provider(CHAT_STREAMED, pauses_after=3) as provider, of_openai(provider) as plain:
        client = wrap(plain, uses, uncounted=uses.uncounted.append)
        leave(call_of(client, CHAT_STREAMED))
        gc.collect()

    assert uses.told == []
    assert [(call.provider, call.model) for call in uses.uncounted] == [("openai", "gpt-5")]
    assert "before the provider had said" in uses.uncounted[0].reason


async def test_a_task_that_is_cancelled_within_a_stream_costs_what_was_said_so_far(uses: Uses) -> None:
    reading = asyncio.Event()

    async def read(client: anthropic.AsyncAnthropic) -> None:
        async for _ in await call_of(client, MESSAGE_STREAMED):
            reading.set()

    with a_provider(MESSAGE_STREAMED, pauses_after=3) as provider:
        async with anthropic.AsyncAnthropic(api_key="sk", base_url=provider.url) as plain:
            task = asyncio.create_task(read(wrap(plain, uses)))
            await reading.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert [told["output_token"] for told in uses.told] == [1]


async def test_a_stream_that_is_still_open_when_its_block_ends_is_captured_with_what_was_said_so_far() -> None:
    with (
        a_provider(MESSAGE_STREAMED, pauses_after=3) as provider, an_api() as api,
        anthropic.Anthropic(api_key="sk", base_url=provider.url) as plain, Client(api.url, token="t") as credits,
    ):  # fmt: skip
        with credits.hold(team="team_42", items=ITEMS) as hold:
            stream = call_of(wrap(plain, hold), MESSAGE_STREAMED)
            next(iter(stream))
        stream.close()  # too late, and told already

    ((_, body),) = api.captures
    assert body["items"][0]["quantities"]["output_token"] == "1"
    assert body["items"][0]["attributes"] == {"model": "large"}


def test_what_is_said_after_the_end_of_a_block_is_not_lost_without_a_word() -> None:
    uncounted: list[UncountedCall] = []
    with (
        a_provider(CHAT) as provider,
        an_api() as api,
        of_openai(provider) as plain,
        Client(api.url, token="t") as credits,
    ):
        with credits.hold(team="team_42", items=ITEMS) as hold:
            pass
        call_of(wrap(plain, hold, uncounted=uncounted.append), CHAT)
        with pytest.raises(RuntimeError, match="has ended"):
            hold.used(1)

    assert "has ended" in uncounted[0].reason
    assert api.captures == []


def test_a_call_that_fails_costs_nothing_and_the_one_that_is_tried_again_costs_once(uses: Uses) -> None:
    away: Vector = {"status": 503, "body": {"error": {"message": "overloaded", "usage": {"prompt_tokens": 9}}}}
    bad: Vector = {"status": 400, "body": {"error": {"message": "no such model", "type": "invalid_request_error"}}}
    quick = httpx2.Client(event_hooks={"response": [lambda response: response.headers.update({"retry-after-ms": "1"})]})
    with a_provider(away, CHAT, bad) as provider, of_openai(provider, max_retries=1, http_client=quick) as plain:
        client = wrap(plain, uses, uncounted=uses.uncounted.append)
        call_of(client, CHAT)
        with pytest.raises(openai.BadRequestError):
            call_of(client, CHAT)

    assert uses.told == [CHAT["quantities"]]
    assert uses.uncounted == []
    assert len(provider.asked) == 3


def test_an_answer_that_comes_later_is_told_of_since_nobody_knows_what_it_will_use(uses: Uses) -> None:
    queued = vectors("openai")["response"]["body"] | {"status": "queued", "usage": None, "output": []}
    with a_provider({"call": "responses", "body": queued}) as provider, of_openai(provider) as plain:
        client = wrap(plain, uses, uncounted=uses.uncounted.append)
        client.responses.create(model="gpt-5", input="Which?", background=True)

    assert uses.told == []
    assert [call.reason for call in uses.uncounted] == ["the answer does not say what it used"]


def test_other_calls_pass_as_they_are(uses: Uses) -> None:
    counted: Vector = {"body": {"input_tokens": 14}}
    with a_provider(counted) as provider, of_anthropic(provider) as plain:
        client = wrap(plain, uses, uncounted=uses.uncounted.append)
        assert client.messages.count_tokens(model="claude", messages=MESSAGES).input_tokens == 14

    assert (uses.told, uses.uncounted) == ([], [])


def test_attributes_may_follow_from_the_model_and_parts_from_what_the_card_prices(uses: Uses) -> None:
    with a_provider(CHAT_STREAMED) as provider, of_openai(provider) as plain:
        client = wrap(
            plain, uses, feature="ai_model.answer", attributes=lambda model: {"model": model},
            priced={"input_token", "output_token"},
        )  # fmt: skip
        list(call_of(client, CHAT_STREAMED))

    assert uses.named == [("ai_model.answer", {"model": "gpt-5"})]
    assert uses.told == [{"input_token": 2006, "output_token": 300}]


def test_usage_without_a_hold_goes_to_an_emitter() -> None:
    reports: list[dict[str, Any]] = []

    class Emitter:
        def report(self, **usage: Any) -> None:
            reports.append(usage)

    usage = TeamUsage(Emitter(), team="team_42", feature="ai_chat.answer", member="mem_7", attributes={"tier": "low"})
    with a_provider(CHAT_STREAMED) as provider, of_openai(provider) as plain:
        list(call_of(wrap(plain, usage), CHAT_STREAMED))

    assert reports == [
        {
            "team": "team_42", "feature": "ai_chat.answer", "member": "mem_7", "attributes": {"tier": "low"},
            "quantities": OF_STREAM,
        }
    ]  # fmt: skip


def test_a_hold_is_told_under_the_feature_and_the_attributes_that_it_was_placed_for() -> None:
    hold = SyncHold(None, PlannedBlock("team_42", ITEMS, "mem_7", 60))  # type: ignore[arg-type]  # it is not entered
    with a_provider(CHAT_STREAMED) as provider, of_openai(provider) as plain:
        list(call_of(wrap(plain, hold), CHAT_STREAMED))

    assert hold.settlement().items == [
        {
            "feature": "ai_chat.answer", "attributes": {"model": "large"},
            "quantities": {name: str(count) for name, count in OF_STREAM.items()},
        }
    ]  # fmt: skip


def test_a_hold_of_several_items_wants_to_be_told_of_which_before_anything_is_asked() -> None:
    hold = SyncHold(None, PlannedBlock("team_42", ITEMS * 2, None, 60))  # type: ignore[arg-type]  # it is not entered
    with openai.OpenAI(api_key="sk") as plain:
        with pytest.raises(ValueError, match="say of which"):
            wrap(plain, hold)
        assert wrap(plain, hold, feature="ai_chat.answer")


@pytest.mark.parametrize("tells", [True, False], ids=["told", "logged"])
def test_an_answer_is_not_lost_over_a_report_that_fails(tells: bool, caplog: pytest.LogCaptureFixture) -> None:
    uncounted: list[UncountedCall] = []

    class Full:
        def report(self, **_: Any) -> None:
            raise OSError("the spool is full")

    with a_provider(CHAT) as provider, of_openai(provider, max_retries=3) as plain, caplog.at_level(logging.WARNING):
        usage = TeamUsage(Full(), team="team_42", feature="ai_chat.answer")
        answer = call_of(wrap(plain, usage, uncounted=uncounted.append if tells else None), CHAT)

    assert answer.choices[0].message.content == "Blue whales are the largest animals."
    assert len(provider.asked) == 1  # and the model was not asked again
    assert [call.model for call in uncounted] == (["gpt-5"] if tells else [])
    assert "the spool is full" in caplog.text


def test_a_client_goes_on_unmetered_beside_its_wrapped_copy_and_shares_its_connections(uses: Uses) -> None:
    with a_provider(CHAT) as provider, of_openai(provider) as plain:
        wrapped = wrap(plain, uses)
        call_of(plain, CHAT)
        assert uses.told == []

        call_of(wrapped, CHAT)
        wrapped.close()
        assert plain.is_closed()


def test_a_client_that_is_wrapped_is_not_wrapped_again_and_counts_nothing_twice(uses: Uses) -> None:
    with openai.OpenAI(api_key="sk") as plain, pytest.raises(TypeError, match="would count twice"):
        wrap(wrap(plain, uses).with_options(timeout=5), uses)


class NotAProvider:
    """Something else."""


@pytest.mark.parametrize(
    "other",
    [NotAProvider, lambda: anthropic.AnthropicVertex(region="r", project_id="p", access_token="t")],
    ids=["anything", "vertex"],
)
def test_what_is_not_metered_is_refused_and_does_not_run_for_nothing(other: Callable[[], object], uses: Uses) -> None:
    with pytest.raises(TypeError, match="is not metered"):
        wrap(other(), uses)


@pytest.mark.parametrize("kind", [openai.AzureOpenAI, openai.AsyncAzureOpenAI])
def test_azures_clients_are_openais(kind: Any, uses: Uses) -> None:
    plain = kind(api_key="sk", api_version="2025-04-01", azure_endpoint="https://example.openai.azure.com")

    assert type(wrap(plain, uses)) is kind


def test_neither_library_is_needed_until_a_client_of_it_is_wrapped() -> None:
    program = (
        "import sys, deploy.client.creditwell_client.metering\n"
        "print([name for name in ('openai', 'anthropic', 'litellm', 'opentelemetry.sdk') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
