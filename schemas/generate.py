"""Writes down the language for programs that are not Python: JSON Schemas and the AsyncAPI of the topics.

    python -m schemas.generate            writes schemas/json/ and schemas/asyncapi.json
    python -m schemas.generate --check    exits 1, naming each file that is out of date

Everything is derived from the models, so what is written is what is checked at the door.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from .facts import FACTS
from .notices import NOTICES, schema_of_notice
from .quantities import NUMBER_SCHEMA
from .rates import RateCard
from .topics import EVENTS, REFUSED
from .usage import UsageAmendReported, UsageReported, UsageVoidReported

HERE = Path(__file__).parent
JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
KAFKA_BINDING = "0.5.0"
LANGUAGE_VERSION = "1.0.0"  # of what is said on the topics, not of the software that says it

Json = dict[str, Any]
USAGE: dict[str, type[BaseModel]] = {
    "usage.reported.v1": UsageReported,
    "usage.voided.v1": UsageVoidReported,
    "usage.amended.v1": UsageAmendReported,
}

EVENTS_DESCRIPTION = (
    "Every stored fact, in order per team, at least once: drop positions that you have seen. "
    "Fields that a fact leaves empty are absent."
)
REFUSED_DESCRIPTION = "What was refused, byte for byte as it arrived, with the reason in its headers."
USAGE_DESCRIPTION = (
    "What feature services report, keyed by team with Kafka's default partitioner, in CloudEvents' structured mode (shown here) "
    "or binary mode (attributes as ce_ headers, data as value)."
)
FACT_HEADERS = {
    "content-type": "application/cloudevents+json; charset=UTF-8.",
    "traceparent": "W3C trace context of what the fact came of, where that is known: it stands beside the log, not in it.",
    "x-request-id": "What the caller of the API called the request that the fact came of, where he called it anything.",
    "creditwell-origin": (
        "Of which log the fact is, in which life of its database's server it was published, and the first and last position "
        "of its block, separated by spaces: what brings it back to a store that lost it."
    ),
}
REFUSED_HEADERS = {
    "refused-reason": "A stable code.",
    "refused-detail": "What to change.",
    "refused-sha256": "Of the whole value as it arrived, in hexadecimal digits.",
    "origin-topic": "Where it was read.",
    "origin-partition": "Where it was read.",
    "origin-offset": "Where it was read.",
    "refused-truncated": (
        "Present when only the first 64 KiB of the value or of the key were kept, or no headers, of which there were more, or "
        "nothing, because it was erased before it was published: the size of the value."
    ),
}


def main(arguments: Sequence[str], here: Path = HERE) -> int:
    """Write the files below `here`, or with --check say which are not as they should be."""
    if unknown := set(arguments) - {"--check"}:
        print(f"unknown argument {', '.join(sorted(unknown))}: only --check is known", file=sys.stderr)
        return 2
    expected = {here / name: text(document) for name, document in documents()}
    present_texts = {path: path.read_text(encoding="utf-8") for path in present(here)}
    stale = sorted(
        path for path in expected.keys() | present_texts.keys() if expected.get(path) != present_texts.get(path)
    )
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(here.parent)} is out of date: run python -m schemas.generate", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        if path in expected:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(expected[path], encoding="utf-8")
        else:
            path.unlink()
    return 0


def present(here: Path) -> Iterator[Path]:
    """The generated files that are there, those of forgotten facts too."""
    yield from (here / "json").rglob("*.json")
    yield from here.glob("asyncapi.json")


def documents() -> Iterator[tuple[str, Json]]:
    """Every file, by its path below this folder."""
    for name, fact in FACTS.items():
        yield f"json/facts/{name}.json", schema_of(fact, f"{name}: the data")
    for name, event in USAGE.items():
        yield f"json/usage/{name}.json", numbers_allowed(schema_of(event, f"{name}: the CloudEvent"))
    for name, notice in NOTICES.items():
        schema = {"$schema": JSON_SCHEMA, **schema_of_notice(notice), "title": f"{name}: the body of the notice"}
        yield f"json/notices/{name}.json", schema
    yield "json/rate_card.json", schema_of(RateCard, "rate card")
    yield "asyncapi.json", asyncapi()


def schema_of(model: type[BaseModel | msgspec.Struct], title: str) -> Json:
    """The JSON Schema of a model or struct, under a title that people know it by."""
    if issubclass(model, msgspec.Struct):
        schema = msgspec.json.schema(model)["$defs"][model.__name__]
    else:
        schema = model.model_json_schema()
    return {"$schema": JSON_SCHEMA, **schema, "title": title}


def numbers_allowed(schema: Json) -> Json:
    """A quantity may also arrive as a JSON number; the recorder turns it into the string that the model shows."""
    defined = schema.get("$defs", {})
    if usage := defined.get("ReportedUsage") or defined.get("AmendedUsage"):
        text, null = usage["properties"]["quantity"]["anyOf"]
        number = {**NUMBER_SCHEMA, "exclusiveMinimum": 0}
        usage["properties"]["quantity"] = {"anyOf": [text, number, null], "default": None, "title": "Quantity"}
        several = usage["properties"]["quantities"]["anyOf"][0]
        several["additionalProperties"] = {"anyOf": [text, {**NUMBER_SCHEMA, "minimum": 0}]}
        several["propertyNames"] = {"maxLength": 64, "pattern": "^[a-z][a-z0-9_]*$"}
    return schema


def asyncapi() -> Json:
    """The three topics, seen from Creditwell: it receives usage, it sends facts and what it refused."""
    messages = {
        **{name: usage_message(name, event) for name, event in USAGE.items()},
        **{f"stored.{name}": fact_message(name, fact) for name, fact in FACTS.items()},
        "refused": refused_message(),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Creditwell",
            "version": LANGUAGE_VERSION,
            "description": "Usage in, facts out. Credits are whole micro-credits (1,000,000 are one credit).",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "usage": channel("usage", USAGE_DESCRIPTION, list(USAGE)),
            "creditsEvents": channel(EVENTS, EVENTS_DESCRIPTION, [f"stored.{name}" for name in FACTS]),
            "usageRefused": channel(REFUSED, REFUSED_DESCRIPTION, ["refused"]),
        },
        "operations": {
            "recordUsage": {"action": "receive", "channel": {"$ref": "#/channels/usage"}},
            "publishFacts": {"action": "send", "channel": {"$ref": "#/channels/creditsEvents"}},
            "publishRefused": {"action": "send", "channel": {"$ref": "#/channels/usageRefused"}},
        },
        "components": {"messages": messages},
    }


def channel(topic: str, description: str, messages: Sequence[str]) -> Json:
    """A Kafka topic and what may be on it."""
    return {
        "address": topic,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": KAFKA_BINDING}},
    }


def message(title: str, description: str, payload: Json, content_type: str, key: str) -> Json:
    """A kind of record on a topic."""
    return {
        "title": title,
        "summary": description,
        "contentType": content_type,
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": KAFKA_BINDING}},
    }


def usage_message(name: str, event: type[BaseModel]) -> Json:
    """A CloudEvent of a feature service."""
    payload = {"$ref": f"./json/usage/{name}.json"}
    return message(name, first_line(event), payload, "application/cloudevents+json", "The team, equal to `subject`.")


def fact_message(name: str, fact: type[BaseModel | msgspec.Struct]) -> Json:
    """A stored fact as a CloudEvent, with its place in the log."""
    instant = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC, microseconds."}
    properties: Json = {
        "specversion": {"const": "1.0"},
        "type": {"const": name},
        "source": {"type": "string"},
        "id": {"type": "string", "description": "Unique for ever, together with team and source."},
        "subject": {"type": "string", "description": "The team."},
        "time": {**instant, "description": "When it happened. RFC 3339, UTC, microseconds."},
        "datacontenttype": {"const": "application/json"},
        "shard": {"type": "integer", "minimum": 0},
        "position": {"type": "integer", "minimum": 1, "description": "Counts from 1 without gaps within its shard."},
        "recordedat": {**instant, "description": "When it was stored. RFC 3339, UTC, microseconds."},
        "data": {"$ref": f"./json/facts/{name}.json"},
    }
    payload = {"type": "object", "required": list(properties), "properties": properties}
    headers = {name: {"type": "string", "description": text} for name, text in FACT_HEADERS.items()}
    return {
        **message(name, first_line(fact), payload, "application/cloudevents+json", "The team."),
        "headers": {"type": "object", "required": ["content-type"], "properties": headers},
    }


def refused_message() -> Json:
    """A record that was refused."""
    headers = {name: {"type": "string", "description": text} for name, text in REFUSED_HEADERS.items()}
    required = [name for name in headers if name != "refused-truncated"]
    return {
        **message("refused", "A record that was refused.", {}, "application/octet-stream", "As received."),
        "headers": {"type": "object", "required": required, "properties": headers},
    }


def first_line(model: type[BaseModel | msgspec.Struct]) -> str:
    """The sentence that says what a model is."""
    return (model.__doc__ or "").strip().splitlines()[0]


def text(document: Json) -> str:
    """The same document is always the same bytes."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
