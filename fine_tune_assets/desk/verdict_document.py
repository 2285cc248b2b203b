"""The document that a verdict rests on, as a page shows it: whatever is in it, and nothing that is not.

Owns reading it without ever failing: a key that is missing, null or of another kind is None, and documents of before this form
(one gain, abilities by name) are shown as far as they go. Pure: JSON in, records out. What the figures mean is `judging`'s.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

FAMILIES: Mapping[str, str] = {
    "target": "The task itself",
    "abilities": "General abilities",
    "safety": "Safety",
    "checks": "Clinical checks",
    "subgroups": "Subgroups",
    "robustness": "Robustness",
}
"""In the order in which they are shown; others come after these, by their own names."""
_FINGERPRINTS = (
    "adapter_id", "base_fingerprint", "instruction_set_fingerprint", "recipe_fingerprint", "incumbent", "judge_version",
)  # fmt: skip
_LARGEST = 1e9
_NARROWEST_BIN = 1e-6


@dataclass(frozen=True)
class Figure:
    family: str
    name: str
    unit: str
    candidate: float | None
    incumbent: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    adjusted_p: float | None
    items: int | None
    needed: int | None
    """Items that would be enough to know."""
    margin: float | None
    outcome: str
    """`passes`, `fails` or `unknown`; empty where the document does not say."""
    why: str


@dataclass(frozen=True)
class Bin:
    start: float
    end: float
    count: int


@dataclass(frozen=True)
class JudgeFacts:
    version: str
    kind: str
    agreement: float | None
    floor: float | None
    is_licensed: bool | None
    why_not: str
    cannot_see: str
    """Empty in a document of before."""


@dataclass(frozen=True)
class Preferences:
    """Which answers the judge preferred when it saw both."""

    pairs: int | None
    missing: int | None
    better: int | None
    equal: int | None
    worse: int | None
    share: float | None
    low: float | None
    high: float | None
    consistent: float | None
    why: str


@dataclass(frozen=True)
class Document:
    figures: tuple[Figure, ...]
    judge: JudgeFacts
    examples: int | None
    missing_grades: int | None
    """Examples without a grade for one of the two."""
    needed: int | None
    """Examples that would be enough."""
    detectable: float | None
    """The smallest difference that these examples can show."""
    candidate_grades: tuple[Bin, ...]
    incumbent_grades: tuple[Bin, ...]
    differences: tuple[Bin, ...]
    """Of the grades of candidate and incumbent on the same example."""
    preferences: Preferences | None
    """None in a document of before."""
    mapped_candidate: float | None
    """Mean grade on the scale of the people that the judge was measured against; None where nothing maps it."""
    mapped_incumbent: float | None
    fingerprints: Mapping[str, str]
    gate: Mapping[str, str]
    """Threshold → value."""

    @property
    def families(self) -> list[tuple[str, list[Figure]]]:
        """Title and figures of each, in their order."""
        known = list(FAMILIES)
        order = {name: known.index(name) if name in known else len(known) for name in {f.family for f in self.figures}}
        ordered = sorted(self.figures, key=lambda figure: (order[figure.family], figure.family))
        grouped = groupby(ordered, key=lambda figure: figure.family)
        return [(FAMILIES.get(name, name or "Other figures"), list(found)) for name, found in grouped]


def read_document(evidence: str) -> Document:
    """Of the JSON text that a verdict keeps; an empty document if it is none."""
    try:
        found = json.loads(evidence)
    except ValueError:
        found = {}
    values = _mapping(found)
    is_former = "figures" not in values
    power, spread = _mapping(values.get("power")), _mapping(values.get("distributions"))
    return Document(
        figures=_former_figures(values) if is_former else tuple(map(_figure, _mappings(values.get("figures")))),
        judge=_judge(values),
        examples=_count(values.get("examples") if is_former else power.get("examples")),
        missing_grades=_count(values.get("missing_grades")),
        needed=_count(power.get("needed")),
        detectable=_number(power.get("detectable")),
        candidate_grades=_bins(spread.get("candidate")),
        incumbent_grades=_bins(spread.get("incumbent")),
        differences=_bins(spread.get("differences")),
        preferences=_preferences(values.get("preferences")),
        mapped_candidate=_number(_mapping(values.get("on_peoples_scale")).get("candidate")),
        mapped_incumbent=_number(_mapping(values.get("on_peoples_scale")).get("incumbent")),
        fingerprints=_fingerprints(values),
        gate=_thresholds(values.get("gate")),
    )


def _figure(row: Mapping[str, Any]) -> Figure:
    values: dict[str, Any] = {name: _text(row.get(name)) for name in ("family", "name", "unit", "outcome", "why")}
    numbers = ("candidate", "incumbent", "difference", "low", "high", "p", "adjusted_p", "margin")
    values |= {name: _number(row.get(name)) for name in numbers}
    return Figure(**values, items=_count(row.get("items")), needed=_count(row.get("needed")))


def _former_figures(values: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Of a document with one gain and abilities as [name, accuracy of the base model, accuracy of the candidate]."""
    gate, gain = _mapping(values.get("gate")), _mapping(values.get("gain"))
    target: dict[str, Any] = {
        "family": "target",
        "name": "mean grade",
        "unit": "points",
        "items": values.get("examples"),
    }
    target |= {"candidate": values.get("candidate_score"), "incumbent": values.get("incumbent_score")}
    target |= {"difference": gain.get("value"), "low": gain.get("low"), "high": gain.get("high")}
    rows: list[dict[str, Any]] = [target | {"margin": gate.get("minimum_gain")}] if "candidate_score" in values else []
    for ability in _list(values.get("abilities")):
        if isinstance(ability, list) and len(ability) == 3:
            before, after = _number(ability[1]), _number(ability[2])
            lost = None if before is None or after is None else after - before
            measured = {"candidate": after, "incumbent": before, "difference": lost}
            allowed = {"margin": gate.get("maximum_ability_loss")}
            rows.append({"family": "abilities", "name": ability[0], "unit": "share", **measured, **allowed})
    return tuple(map(_figure, rows))


def _judge(values: Mapping[str, Any]) -> JudgeFacts:
    judge = _mapping(values.get("judge"))
    licensed = judge.get("licensed")
    return JudgeFacts(
        version=_text(judge.get("version", values.get("judge_version"))),
        kind=_text(judge.get("kind")),
        agreement=_number(judge.get("agreement", values.get("judge_agreement"))),
        floor=_number(judge.get("floor", values.get("agreement_floor"))),
        is_licensed=licensed if isinstance(licensed, bool) else None,
        why_not=_text(judge.get("why_not")),
        cannot_see=_text(judge.get("cannot_see")),
    )


def _preferences(found: Any) -> Preferences | None:
    values = _mapping(found)
    if not values:
        return None
    counts: dict[str, Any] = {
        name: _count(values.get(name)) for name in ("pairs", "missing", "better", "equal", "worse")
    }
    shares: dict[str, Any] = {name: _number(values.get(name)) for name in ("share", "low", "high", "consistent")}
    return Preferences(**counts, **shares, why=_text(values.get("why")))


def _fingerprints(values: Mapping[str, Any]) -> dict[str, str]:
    """Each value once, by the first name that it has."""
    plain = {name: values.get(name) for name in _FINGERPRINTS}
    named = {**plain, "judge_version": _judge(values).version, **_mapping(values.get("fingerprints"))}
    found: dict[str, str] = {}
    for name, value in named.items():
        if isinstance(value, str) and value and value not in found.values():
            found[name] = value
    return found


def _thresholds(gate: Any) -> dict[str, str]:
    """Name → value as it is shown: all that decides is signed, lists and budgets too."""
    return {str(name): _in_words(value) for name, value in _mapping(gate).items() if value is not None}


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _bins(found: Any) -> tuple[Bin, ...]:
    bins = []
    for row in _list(found):
        if isinstance(row, list) and len(row) == 3:
            start, end, count = _number(row[0]), _number(row[1]), _count(row[2])
            if (
                start is not None
                and end is not None
                and count is not None
                and end - start >= _NARROWEST_BIN
                and count >= 0
            ):
                bins.append(Bin(start, end, count))
    return tuple(bins)


def _number(found: Any) -> float | None:
    """None also for what is no number (NaN is below nothing) and for what no figure here can be."""
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number and abs(found) <= _LARGEST else None


def _count(found: Any) -> int | None:
    number = _number(found)
    return None if number is None else int(number)


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _mappings(found: Any) -> list[Mapping[str, Any]]:
    return [row for row in _list(found) if isinstance(row, dict)]
