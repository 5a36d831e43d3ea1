"""Writes the types of the page's texts from its English catalog: which there are, and what is filled into each.

    python -m deploy.docs.page_texts            writes services/page/texts.d.ts
    python -m deploy.docs.page_texts --check    exits 1 when it is out of date

A host product that gives texts of its own takes the file into its project; the page's own code is checked by it, too.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.api.openapi.generated import keep_up_to_date

PAGE = Path(__file__).parents[2] / "services" / "page"
FILE = PAGE / "texts.d.ts"
ENGLISH = ("texts/en.js", "texts/en-later.js")
FORM = """\
// Every text of the elements by its name, and what is filled into it. It follows from texts/en*.js: `make docs` writes this file.

interface CreditwellTexts {{
{texts}
}}
"""
STRING = r'"(?:[^"\\]|\\.)*"'
ENTRY = re.compile(
    rf'^  "?([\w.]+)"?:\s*(?:({STRING})|{{\s*one:\s*({STRING}),\s*other:\s*({STRING}),?\s*}}),$', re.MULTILINE
)
NAME = re.compile(r"\{(\w+)\}")
COUNT = "count"

Forms = tuple[str, ...]  # a text, or one for one and one for all other amounts


def texts_of(script: str) -> dict[str, Forms]:
    """The texts of a catalog by their names, each with its one form, or its two."""
    return {
        key: tuple(json.loads(form) for form in (text, one, other) if form)
        for key, text, one, other in ENTRY.findall(script)
    }


def english() -> dict[str, Forms]:
    """All texts of the page in English."""
    return {key: forms for name in ENGLISH for key, forms in texts_of((PAGE / name).read_text("utf-8")).items()}


def filled_into(forms: Forms) -> list[str]:
    """The names of what is filled in, in the order of the text; what has two forms is chosen by a count."""
    names = [COUNT] if len(forms) > 1 else []
    return list(dict.fromkeys([*names, *(name for form in forms for name in NAME.findall(form))]))


def types_of(texts: Mapping[str, Forms]) -> str:
    """The file of declarations."""
    lines = []
    for key, forms in texts.items():
        names = filled_into(forms)
        typed = "; ".join(f"{name}: {'number | string' if name == COUNT else 'string'}" for name in names)
        lines.append(f'  "{key}": {{ {typed} }};' if names else f'  "{key}": Record<never, never>;')
    return FORM.format(texts="\n".join(lines))


def main(arguments: Sequence[str], file: Path = FILE) -> int:
    """Write the file, or with --check say whether it is as it should be."""
    return keep_up_to_date({file: types_of(english())}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
