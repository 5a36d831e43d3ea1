"""What each table of `docs/` says: one function for each, from the definitions that the processes run with."""

import ast
import importlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import typer.main
from pydantic.fields import FieldInfo

from projections.analytics import views
from schemas.facts import FACTS
from schemas.notices import NOTICES, NoticeData
from services.api.openapi.codes import MEANINGS
from services.cli import app
from services.export.columns import ExportedColumn
from services.export.parquet import schema_of
from services.export.tables import BALANCE_COLUMNS, BLOCK_COLUMNS, ENTRY_COLUMNS, EVENT_COLUMNS
from services.runtime.processes import PROCESSES
from services.runtime.settings import Settings, variable

ROOT = Path(__file__).parents[2]
WIDTH = 120
EXAMPLE = "\n\nExample: "
METRICS = {"Counter": "counter", "Gauge": "gauge", "GaugeMetricFamily": "gauge", "Histogram": "histogram"}


class MetricDoc(NamedTuple):
    """A metric as Prometheus shows it, and the module that counts it."""

    name: str
    kind: str
    labels: str
    meaning: str
    module: str


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(columns)
    lines = [
        head,
        ["---"] * len(head),
        *([cell.replace("|", r"\|").replace("<", "&lt;") for cell in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def settings() -> str:
    """Every setting: its variable, what it is, its default, an example."""
    rows = (
        (f"`{variable(name)}`", setting.description or "", default(setting), str((setting.examples or [""])[0]))
        for name, setting in Settings.model_fields.items()
    )
    return table(("variable", "what it is", "default", "for example"), rows)


def default(setting: FieldInfo) -> str:
    """A default as it would be written into the variable."""
    match setting.default:
        case None:
            return ""
        case bool(on):
            return "on" if on else "off"
        case tuple(parts):
            return ",".join(parts)
        case value:
            return str(value)


def commands() -> str:
    """Every command with its arguments and options, as `--help` has them."""
    return "\n".join(described(f"creditwell {name}", command) for name, command in all_commands())


def all_commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Those of groups, too, each with its name without `creditwell`."""
    for name, command in _members(typer.main.get_command(app)):
        if isinstance(command, typer.core.TyperGroup):
            yield from ((f"{name} {member}", one) for member, one in _members(command))
        else:
            yield name, command


def _members(group: object) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    assert isinstance(group, typer.core.TyperGroup)
    yield from group.commands.items()  # type: ignore[misc]  # typer's own classes all


def described(name: str, command: typer.core.TyperCommand) -> str:
    """One command: a heading, what it does, and what it takes."""
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    arguments = "".join(f" {one.metavar}" for one in shown if one.param_type_name == "argument")
    text, example = text_and_example(command)
    lines = [f"### `{name}{arguments}`", "", fill(" ".join(text.split()), WIDTH), ""]
    lines += ["```sh", example, "```", ""]
    for one in shown:
        called = one.metavar if one.param_type_name == "argument" else ", ".join(one.opts)
        sentences = [getattr(one, "help", None) or ""]
        if isinstance(one.default, int | str) and one.default is not False:
            sentences.append(f"Default: {one.default}.")
        lines.append(f"- `{called}`: {' '.join(sentences).strip()}")
    return "\n".join(lines).rstrip() + "\n"


def text_and_example(command: typer.core.TyperCommand) -> tuple[str, str]:
    """What a command does, and one line that uses it."""
    text, _, example = (command.help or "").partition(EXAMPLE)
    return text, " ".join(example.split())


def metrics() -> str:
    """Every metric of ours: its name, kind and labels, what it counts, and where."""
    rows = sorted(found_metrics())
    return table(
        ("metric", "kind", "labels", "what it says", "counted in"),
        ((f"`{one.name}`", one.kind, one.labels, one.meaning, f"`{one.module}`") for one in rows),
    )


def found_metrics() -> Iterator[MetricDoc]:
    """Metrics where they are made.

    Most belong to a running process, so they are read from the source and not from a registry.
    """
    for path in sorted((ROOT / "services").rglob("*.py")):
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (kind := METRICS.get(ast.unparse(node.func).rpartition(".")[2])):
                match node.args:
                    case [ast.Constant(value=str(name)), meaning, *rest]:
                        yield MetricDoc(
                            f"{name}_total" if kind == "counter" else name,
                            kind,
                            labels(node, rest),
                            text(meaning, module).rstrip("."),
                            module,
                        )


def labels(call: ast.Call, rest: list[ast.expr]) -> str:
    """The labels of a metric, given by place or by name."""
    arguments = [*rest, *(keyword.value for keyword in call.keywords if keyword.arg == "labels")]
    return ", ".join(f"`{label}`" for one in arguments if isinstance(one, ast.List) for label in ast.literal_eval(one))


def text(node: ast.expr, module: str) -> str:
    """A text of the source; names in it are constants of its module."""
    match node:
        case ast.JoinedStr(values=parts):
            return "".join(text(part, module) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return str(getattr(importlib.import_module(module), name))
        case _:
            return str(ast.literal_eval(node))


def errors() -> str:
    """Every code of the API, by its status."""
    rows = (
        (str(status), f"`{code}`", meaning) for status, codes in MEANINGS.items() for code, meaning in codes.items()
    )
    return table(("status", "code", "what it means"), rows)


def notices() -> str:
    """Every notice: its type, when it is sent, and what it tells beside what all tell."""
    rows = (
        (f"`{name}`", first_line(notice), ", ".join(f"`{field}`" for field in _particular(notice.model_fields["data"])))
        for name, notice in NOTICES.items()
    )
    return table(("type", "sent when", "its own members of `data`"), rows)


def _particular(data: FieldInfo) -> list[str]:
    assert isinstance(data.annotation, type)
    assert issubclass(data.annotation, NoticeData)
    return [name for name in data.annotation.model_fields if name not in NoticeData.model_fields]


def facts() -> str:
    """Every fact that the log may hold."""
    rows = ((f"[`{name}`](../schemas/json/facts/{name}.json)", first_line(fact)) for name, fact in FACTS.items())
    return table(("fact", "what happened"), rows)


def processes() -> str:
    """Every process: its role at the database, and the module that runs it."""
    rows = (
        (f"`{one.name}`", f"`creditwell_{one.role}`", f"`{one.module}`", "yes" if one.gives_way else "no")
        for one in PROCESSES.values()
    )
    return table(("process", "database role", "runs", "gives way to those that answer"), rows)


def analytics() -> str:
    """Every view of analysts, with its columns."""
    return "\n".join(
        f"#### {view.name}\n\n{view.meaning}\n\n{table(('column', 'what it says'), ((f'`{name}`', text) for name, text in view.columns))}"
        for view in views()
    )


def dbt_sources() -> str:
    """The same for dbt. A JSON string is a YAML string."""
    lines = [
        "# Written by `make docs` from projections/analytics; copy it into the models of a dbt project.",
        "version: 2", "sources:", "  - name: creditwell", "    schema: analytics", "    tables:",
    ]  # fmt: skip
    for view in views():
        lines += [f"      - name: {view.name}", f"        description: {json.dumps(view.meaning)}", "        columns:"]
        for name, meaning in view.columns:
            lines += [f"          - name: {name}", f"            description: {json.dumps(meaning)}"]
    return "\n".join(lines) + "\n"


def exported_columns(of: Sequence[ExportedColumn]) -> str:
    """The columns of an export, and their types in Parquet."""
    types = schema_of(of)
    rows = (
        (f"`{column.name}`", f"`{types.field(column.name).type}`".replace("\n", " "), column.meaning) for column in of
    )
    return table(("column", "type", "what it is"), rows)


def exported_events() -> str:
    """What `creditwell export events` and `archive` write of each fact."""
    return exported_columns(EVENT_COLUMNS)


def exported_blocks() -> str:
    """What they write of each block."""
    return exported_columns(BLOCK_COLUMNS)


def exported_entries() -> str:
    """What `creditwell export entries` writes."""
    return exported_columns(ENTRY_COLUMNS)


def exported_balances() -> str:
    """What `creditwell export balances` writes."""
    return exported_columns(BALANCE_COLUMNS)


def first_line(of: type) -> str:
    """The first sentence of a class's docstring."""
    return (inspect.getdoc(of) or "").partition("\n")[0].rstrip(".")


TABLES: Mapping[str, Callable[[], str]] = {
    one.__name__: one
    for one in (
        settings,
        commands,
        metrics,
        errors,
        notices,
        facts,
        processes,
        analytics,
        exported_events,
        exported_blocks,
        exported_entries,
        exported_balances,
    )
}
FILES: Mapping[str, Callable[[], str]] = {"analytics-sources.yml": dbt_sources}
