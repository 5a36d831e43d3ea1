"""What a printed statement says, in the languages that the Usage page has.

Names of features and plans are those of the catalog, in whatever language it is written.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Language(StrEnum):
    """A language that statements are printed in."""

    EN = "en"
    DE = "de"


class StatementWords(NamedTuple):
    """One language: sentences with gaps, names of tables, columns and lines, how numbers and instants are written."""

    language: Language
    title: str
    period: str
    seal: str
    tables: Mapping[str, str]
    columns: Mapping[str, str]
    lines: Mapping[str, str]
    kinds: Mapping[str, str]
    other: str  # usage of no feature, as what a hold captured
    nobody: str
    receipt: str
    units: Mapping[str, str]  # units that the catalog names as our examples do; others stay as they are
    group: str
    decimal: str
    instant: str

    def number(self, text: object) -> str:
        """A decimal as people read it: `-1234.5` is -1,234.5 in English."""
        sign, digits = ("-", str(text)[1:]) if str(text).startswith("-") else ("", str(text))
        whole, point, rest = digits.partition(".")
        grouped = f"{int(whole):,}".replace(",", self.group) if whole.isdigit() else whole
        return f"{sign}{grouped}{self.decimal if point else ''}{rest}"

    def minute(self, instant: str) -> str:
        """An instant of UTC, to the minute."""
        year, month, day = instant[:10].split("-")
        return self.instant.format(year=year, month=month, day=day, time=instant[11:16])


ENGLISH = StatementWords(
    language=Language.EN,
    title="Statement of credits, cycle {cycle}",
    period="{starts} to {ends} UTC, plan {plan}",
    seal="Sealed at position {position}, {at} UTC. Signed checkpoint {checkpoint} covers it; its SHA-256 is {sha256}. Log {log}.",
    tables={
        "credits": "Credits", "features": "Used, by feature", "members": "Used, by member", "payments": "Payments",
        "late": "Late, of earlier cycles", "corrections": "Corrections", "left": "Left at the end",
    },
    columns={
        "line": "", "total": "Total", "included": "Included", "additional": "Additional", "feature": "Feature",
        "quantity": "Quantity", "unit": "Unit", "uses": "Uses", "credits": "Credits", "member": "Member",
        "taken_back": "Taken back", "paid": "Paid (UTC)", "payment": "Payment", "gross": "Gross", "tax": "Tax",
        "back": "Went back", "currency": "Currency", "receipt": "Receipt", "cycle": "Cycle", "entries": "Entries",
        "when": "When (UTC)", "entry": "Entry", "refers_to": "Refers to", "kind": "Credits", "amount": "Amount",
        "refunded": "refunded", "disputed": "disputed", "won_back": "won back",
    },
    lines={
        "opening": "Opening balance", "refilled": "+ Included credits of the plan", "bought": "+ Bought",
        "topped_up": "+ Topped up", "granted": "+ Granted", "given_back": "+ Given back after refunds and disputes",
        "adjusted": "± Corrected", "taken_back": "+ Usage taken back", "used": "− Used", "expired": "− Expired",
        "refunded": "− Refunded", "disputed": "− Disputed", "closing": "Closing balance",
    },
    kinds={
        "included": "Included in the plan", "purchased": "Bought", "topped_up": "Topped up", "promotional": "Granted",
        "adjusted": "Corrected", "reinstated": "Given back", "debt": "Below zero",
    },
    other="Other",
    nobody="Nobody",
    receipt="Receipt",
    units={},
    group=",",
    decimal=".",
    instant="{year}-{month}-{day} {time}",
)  # fmt: skip
GERMAN = StatementWords(
    language=Language.DE,
    title="Credit-Auszug, Zeitraum {cycle}",
    period="{starts} bis {ends} UTC, Tarif {plan}",
    seal="Abgeschlossen an Position {position}, {at} UTC. Der signierte Prüfpunkt {checkpoint} deckt das ab; sein SHA-256 ist "
    "{sha256}. Log {log}.",
    tables={
        "credits": "Credits", "features": "Verbraucht, nach Funktion", "members": "Verbraucht, nach Mitglied",
        "payments": "Zahlungen", "late": "Spät erfasst, aus früheren Zeiträumen", "corrections": "Korrekturen",
        "left": "Am Ende übrig",
    },
    columns={
        "line": "", "total": "Gesamt", "included": "Enthalten", "additional": "Zusätzlich", "feature": "Funktion",
        "quantity": "Menge", "unit": "Einheit", "uses": "Nutzungen", "credits": "Credits", "member": "Mitglied",
        "taken_back": "Zurückgenommen", "paid": "Bezahlt (UTC)", "payment": "Zahlung", "gross": "Brutto", "tax": "Steuer",
        "back": "Zurückgeflossen", "currency": "Währung", "receipt": "Beleg", "cycle": "Zeitraum", "entries": "Einträge",
        "when": "Wann (UTC)", "entry": "Eintrag", "refers_to": "Bezieht sich auf", "kind": "Credits", "amount": "Anzahl",
        "refunded": "erstattet", "disputed": "angefochten", "won_back": "zurückgewonnen",
    },
    lines={
        "opening": "Anfangsguthaben", "refilled": "+ Enthaltene Credits des Tarifs", "bought": "+ Gekauft",
        "topped_up": "+ Aufgeladen", "granted": "+ Geschenkt",
        "given_back": "+ Zurückgegeben nach Erstattungen und Anfechtungen", "adjusted": "± Korrigiert",
        "taken_back": "+ Zurückgenommene Nutzung", "used": "− Verbraucht", "expired": "− Verfallen",
        "refunded": "− Erstattet", "disputed": "− Angefochten", "closing": "Endguthaben",
    },
    kinds={
        "included": "Im Tarif enthalten", "purchased": "Gekauft", "topped_up": "Aufgeladen", "promotional": "Geschenkt",
        "adjusted": "Korrigiert", "reinstated": "Zurückgegeben", "debt": "Unter null",
    },
    other="Sonstiges",
    nobody="Niemand",
    receipt="Beleg",
    units={
        "second": "Sekunde", "seconds": "Sekunden", "character": "Zeichen", "characters": "Zeichen", "token": "Token",
        "tokens": "Token", "use": "Nutzung", "uses": "Nutzungen", "GB-day": "GB-Tag", "GB-days": "GB-Tage",
    },
    group=".",
    decimal=",",
    instant="{day}.{month}.{year} {time}",
)  # fmt: skip
WORDS = {words.language: words for words in (ENGLISH, GERMAN)}


def accepted_words(accept_language: str) -> StatementWords:
    """The language that a browser would rather have (RFC 9110, 12.5.4); English where it wants none of ours."""
    chosen, most = ENGLISH, 0.0
    for wish in accept_language.split(","):
        name, _, weight = wish.partition(";")
        language = name.strip().partition("-")[0].lower()
        quality = _quality(weight)
        if language in WORDS and quality > most:
            chosen, most = WORDS[Language(language)], quality
    return chosen


def _quality(weight: str) -> float:
    key, _, value = weight.strip().partition("=")
    try:
        return float(value) if key.strip().lower() == "q" else 1.0
    except ValueError:
        return 0.0
