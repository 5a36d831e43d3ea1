"""The npm package of the client: what it names is there, it needs nothing else, and browsers can load what they get."""

import json
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "deploy/client/typescript"
ABOUT = json.loads((PACKAGE / "package.json").read_text("utf-8"))
IMPORTED = re.compile(r"""^(?:import|export)\b[^;]*?\bfrom "([^"]+)";""", re.MULTILINE)


def loaded(entry: str) -> set[str]:
    """The modules that an entry loads, as they are named."""
    names: set[str] = set()
    waiting = [f"./{entry}"]
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting += IMPORTED.findall((PACKAGE / "src" / name).read_text("utf-8")) if name.startswith("./") else []
    return names


def test_browsers_are_given_nothing_of_node() -> None:
    assert {name for name in loaded("index.js") if not name.startswith("./")} == set()
    assert "node:fs" in loaded("node.js")


def test_the_package_has_what_it_names_and_needs_no_other() -> None:
    entry = ABOUT["exports"]["."]

    assert (entry["node"], entry["default"]) == ("./src/node.js", "./src/index.js")
    assert all((PACKAGE / path).is_file() for path in (*entry.values(), ABOUT["types"]))
    assert not {"dependencies", "peerDependencies", "optionalDependencies"} & ABOUT.keys()
    assert {path.stem for path in (PACKAGE / "src").glob("*.js")} | {"bodies"} == {
        path.name.removesuffix(".d.ts") for path in (PACKAGE / "types").iterdir()
    }
