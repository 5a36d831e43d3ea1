"""Writes what the image is made of, as a CycloneDX 1.6 document: `make wheel` puts it into dist/.

    python -m deploy.sbom FILE

It follows from `deploy/image.lock`, `deploy/Dockerfile` and `pyproject.toml`: the same sources give the same bytes.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from services import VERSION

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)[^\n]*((?:\n    --hash=.*)*)", re.MULTILINE)
HASH = re.compile(r"sha256:([0-9a-f]{64})")
STAGE = re.compile(r"^FROM (\S+):(\S+)(?: AS \w+)?$", re.MULTILINE)
REQUIRED = re.compile(r"^[A-Za-z0-9._-]+")


def document() -> dict[str, Any]:
    """The bill of materials."""
    lock = (ROOT / "deploy" / "image.lock").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    components = [_base(), *_libraries(lock)]
    refs = {component["name"]: component["bom-ref"] for component in components}
    itself = _library("creditwell", VERSION) | {
        "type": "application",
        "licenses": [{"license": {"id": project["license"]}}],
    }
    needs = [*project["dependencies"], *project["optional-dependencies"]["parquet"]]
    bom = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": itself},
        "components": components,
        "dependencies": [{"ref": itself["bom-ref"], "dependsOn": sorted({refs[_name(need)] for need in needs})}],
    }  # fmt: skip
    return {"serialNumber": uuid5(NAMESPACE_URL, json.dumps(bom, sort_keys=True)).urn} | bom


def _base() -> dict[str, Any]:
    """The image that ours stands on; of the others nothing stays."""
    name, version = STAGE.findall((ROOT / "deploy" / "Dockerfile").read_text("utf-8"))[-1]
    return {
        "type": "container",
        "bom-ref": f"pkg:docker/{name}@{version}",
        "name": f"docker/{name}",
        "version": version,
    }


def _libraries(lock: str) -> Iterator[Mapping[str, Any]]:
    """Each package, with the hashes of the files in which it comes, of which a machine takes one."""
    for name, version, hashes in PINNED.findall(lock):
        yield _library(name, version) | {
            "hashes": [{"alg": "SHA-256", "content": content} for content in HASH.findall(hashes)]
        }


def _library(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _name(need: str) -> str:
    """The name in a requirement, as the lock writes it."""
    name = REQUIRED.match(need)
    assert name is not None, need
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def main(arguments: Sequence[str]) -> int:
    """Write the file; 2 where none is named."""
    if len(arguments) != 1:
        print("usage: python -m deploy.sbom FILE", file=sys.stderr)
        return 2
    Path(arguments[0]).write_text(json.dumps(document(), indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
