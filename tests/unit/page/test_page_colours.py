"""Colours that mean something are seen against the card they stand on, in both themes (WCAG 2.2, 1.4.11)."""

import re
from itertools import combinations, pairwise
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "services" / "page"
TOKEN = re.compile(r"--([a-z0-9-]+): var\(--creditwell-[a-z0-9-]+, light-dark\(#(\w+), #(\w+)\)\)")
GRAPHIC_MIN = 3.0
APART_MIN = 90.0


def tokens(name: str) -> dict[str, tuple[str, str]]:
    """The colours that a file names, light and dark."""
    return {token: (light, dark) for token, light, dark in TOKEN.findall((PAGE / name).read_text("utf-8"))}


SHARED = tokens("style.js")
SERIES = tokens("elements/usage-chart.js")
GRAPHIC = {name: SHARED[name] for name in ("included", "additional", "held", "good", "bad", "accent")} | SERIES


def luminance(colour: str) -> float:
    """Of three or six hexadecimal digits, as WCAG defines it."""
    digits = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
    parts = [int(digits[start:end], 16) / 255 for start, end in pairwise((0, 2, 4, 6))]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", GRAPHIC)
def test_a_graphic_is_seen_on_its_card(name: str, theme: int) -> None:
    dark, bright = sorted(luminance(colours[theme]) for colours in (GRAPHIC[name], SHARED["card"]))

    assert (bright + 0.05) / (dark + 0.05) >= GRAPHIC_MIN


def test_the_series_of_the_chart_are_found() -> None:
    assert len(SERIES) == 7


def apart(one: str, other: str) -> float:
    """How far two colours are from one another to the eye, roughly ("redmean"); black and white are 765 apart."""
    (r1, g1, b1), (r2, g2, b2) = (bytes.fromhex(colour) for colour in (one, other))
    mean = (r1 + r2) / 2
    weighted = (2 + mean / 256) * (r1 - r2) ** 2 + 4 * (g1 - g2) ** 2 + (2 + (255 - mean) / 256) * (b1 - b2) ** 2
    return float(weighted**0.5)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_no_series_looks_like_another_or_like_a_kind_of_credits(theme: int) -> None:
    meant = [*SERIES.values(), *(SHARED[kind] for kind in ("included", "additional"))]
    colours = [colour[theme] for colour in meant]

    assert min(apart(one, other) for one, other in combinations(colours, 2)) >= APART_MIN
