"""What answers are made of, for whoever writes them: no web framework is needed to say what a team has."""

from typing import Any

Json = dict[str, Any]
