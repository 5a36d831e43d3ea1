"""LiteLLM itself, with the callback of the client of Python, against a provider that stands in: every token is reported.

LITELLM_LOCAL_MODEL_COST_MAP=True .creditwell/outside/bin/python -m tests.outside.litellm
"""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

from tests.support.model_provider import Vector, a_provider, vectors

ROOT = Path(__file__).parents[2]
(PROGRAM,) = re.findall(
    r"^```python\n(import litellm\n.*?)^```",
    (ROOT / "docs/model-calls.md").read_text("utf-8"),
    re.DOTALL | re.MULTILINE,
)
WHOSE = {"creditwell_team": "team_42", "creditwell_member": "mem_7"}
SECONDS = 60.0
CHAT, CHAT_STREAMED = vectors("openai")["chat, cache written"], vectors("openai")["chat, streamed"]
CACHED = "message, cache read and written: the example of Anthropic's guide"
MESSAGE, MESSAGE_STREAMED = (
    vectors("anthropic")[CACHED],
    vectors("anthropic")["message, cache read and written, streamed"],
)


class Reports:
    """The part of an emitter that the callback needs."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def report(self, **usage: Any) -> None:
        self.told.append(usage)

    async def next(self) -> dict[str, Any]:
        """The report that comes; LiteLLM calls back from a thread of its own."""
        async with asyncio.timeout(SECONDS):
            while not self.told:
                await asyncio.sleep(0.01)
        return self.told.pop()


async def call(answer: Vector, *, awaited: bool, usage_is_asked_for: bool = True) -> None:
    """One call of LiteLLM that is answered so."""
    import litellm

    model, path = (
        ("anthropic/claude-opus-4-1", "/v1/messages") if answer["call"] == "messages" else ("openai/gpt-5", "/v1")
    )
    stream = "events" in answer
    with a_provider(answer) as provider:
        options: dict[str, Any] = {"stream": True} if stream else {}
        if stream and usage_is_asked_for:
            options["stream_options"] = {"include_usage": True}
        asked = {
            "model": model, "api_base": provider.url + path, "api_key": "sk", "metadata": WHOSE,
            "messages": [{"role": "user", "content": "Which?"}], **options,
        }  # fmt: skip
        if awaited:
            made = await litellm.acompletion(**asked)
            if stream:
                async for _ in made:
                    pass
        else:
            made = await asyncio.to_thread(litellm.completion, **asked)
            if stream:
                await asyncio.to_thread(list, made)


async def main() -> None:
    """AssertionError where a token is missing, or one too many."""
    sys.path.insert(0, str(ROOT / "deploy/client"))
    emitter = Reports()
    names: dict[str, Any] = {"emitter": emitter}
    exec(PROGRAM, names)
    for answer in (CHAT, CHAT_STREAMED, MESSAGE, MESSAGE_STREAMED):
        for awaited in (False, True):
            await call(answer, awaited=awaited)
            told = await emitter.next()
            assert told["quantities"] == answer["quantities"], told
            assert (told["team"], told["member"]) == ("team_42", "mem_7")
    uncounted: list[str] = []
    (callback,) = names["litellm"].callbacks
    callback._uncounted = lambda call: uncounted.append(call.reason)
    await call(CHAT_STREAMED, awaited=True, usage_is_asked_for=False)
    await call(CHAT, awaited=True)
    await emitter.next()  # so the one before was told of, too
    assert uncounted == ["the provider was not asked what it used"], uncounted
    print("litellm: 9 calls, every token reported once, and no guess")


if __name__ == "__main__":
    asyncio.run(main())
