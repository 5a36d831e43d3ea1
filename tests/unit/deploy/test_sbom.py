"""The bill of materials of the image: every package that is installed in it, and the same bytes each time."""

import json
import re
from pathlib import Path

from deploy.sbom import ROOT, document, main
from services import VERSION


def test_it_names_each_package_of_the_image_with_its_version_and_hashes() -> None:
    lock = (ROOT / "deploy" / "image.lock").read_text("utf-8")
    libraries = {one["name"]: one for one in document()["components"] if one["type"] == "library"}

    assert {f"{name}=={one['version']}" for name, one in libraries.items()} == set(
        re.findall(r"^\S+==\S+", lock, re.MULTILINE)
    )
    assert sum(len(one["hashes"]) for one in libraries.values()) == lock.count("--hash=sha256:")
    assert libraries["stripe"]["purl"] == f"pkg:pypi/stripe@{libraries['stripe']['version']}"


def test_it_names_the_image_beneath_and_what_ours_asks_for_itself() -> None:
    bom = document()
    refs = {one["bom-ref"] for one in bom["components"]}
    (itself,) = bom["dependencies"]

    assert [one["name"] for one in bom["components"] if one["type"] == "container"] == ["docker/python"]
    assert bom["metadata"]["component"]["version"] == VERSION
    assert itself["ref"] == bom["metadata"]["component"]["bom-ref"]
    assert set(itself["dependsOn"]) <= refs
    assert {"aiokafka", "asyncpg", "pyarrow"} <= {
        ref.partition("/")[2].partition("@")[0] for ref in itself["dependsOn"]
    }


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.json", "other.json")]
    assert [main([str(file)]) for file in files] == [0, 0]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert json.loads(files[0].read_text("utf-8"))["bomFormat"] == "CycloneDX"
    assert main([]) == 2
