"""The wheel's package is the application's folder `schemas`, taken as it is and called `creditwell_emitter`.

A `force-include` in pyproject.toml would look for that folder in a source distribution too, where it has its new name
already (`uv build` makes the wheel from one). So it is said here, for a checkout only.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "creditwell_emitter"


class EmitterHook(BuildHookInterface[Any]):
    """Called by hatchling, for the source distribution and for the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Say what the package is made of."""
        if not Path(self.root, PACKAGE).is_dir():
            build_data["force_include"][str(Path(self.root).parents[1] / "schemas")] = PACKAGE
