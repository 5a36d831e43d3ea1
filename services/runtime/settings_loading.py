"""Settings from the environment: read once, by the CLI; what is wrong ends the process with a sentence."""

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from schemas.catalog import Catalog, CatalogInvalid, load_catalog
from services.runtime.settings import PREFIX, Settings, WrongSettings, advice, variable

USED_WRONGLY = 2  # exit code
# Read elsewhere, before or beside the settings: crash points, and the folder of secrets.
OTHERS = frozenset({"CREDITWELL_SECRETS_DIR", "CREDITWELL_CRASH_AT", "CREDITWELL_STOP_AT", "CREDITWELL_TERM_AT"})


def load_settings(**overrides: object) -> Settings:
    """The settings from environment and secrets; ends the process (exit code 2) where one is wrong."""
    folder = os.environ.get("CREDITWELL_SECRETS_DIR")
    if folder is not None and not Path(folder).is_dir():
        exit_used_wrongly(f"CREDITWELL_SECRETS_DIR: {folder!r} is not a folder.")
    try:
        return Settings(_secrets_dir=folder, **overrides)  # type: ignore[arg-type]  # the overrides are validated
    except ValidationError as error:
        exit_used_wrongly(*(_problem(problem) for problem in error.errors(include_url=False, include_input=False)))


def catalog_of(settings: Settings) -> Catalog:
    """Plans, packs and prices; raises WrongSettings where the catalog is wrong."""
    try:
        return load_catalog(settings.catalog)
    except CatalogInvalid as invalid:
        raise WrongSettings(f"{variable('catalog')} is wrong: {invalid}") from invalid


def _problem(problem: Mapping[str, object]) -> str:
    where, what = problem["loc"], str(problem["msg"]).removeprefix("Value error, ")
    assert isinstance(where, tuple)
    if not where:
        return f"{what}."
    return f"{variable(str(where[0]))} is wrong: {what[:1].lower()}{what[1:]}. {advice(str(where[0]))}"


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each `CREDITWELL_…` variable that nothing reads: most often a misspelt one."""
    names = {variable(name) for name in Settings.model_fields} | OTHERS
    return [
        f"{name} is not a setting"
        + (f"; did you mean {close[0]}?" if (close := get_close_matches(name, names, 1)) else "")
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in names
    ]


def say_used_wrongly(*sentences: str) -> None:
    """Say on standard error what is wrong."""
    for sentence in sentences:
        print(f"creditwell: {sentence}", file=sys.stderr)


def exit_used_wrongly(*sentences: str) -> NoReturn:
    """Say what is wrong and end with exit code 2."""
    say_used_wrongly(*sentences)
    raise SystemExit(USED_WRONGLY)
