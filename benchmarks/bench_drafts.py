"""What the checks of a draft find: planted errors in human notes, and how often an untouched note is flagged.

Pairs of dialogue and note from MTS-Dialog, ACI-Bench and PriMock57 lie in the folder that is named. Each pair belongs to one
half by the hash of its note; the checks were tuned on `tune`, and `report` is what is reported.
"""

import argparse
import csv
import json
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fine_tune_assets.approval.checking import check_output
from fine_tune_assets.approval.consistency import noise_of
from fine_tune_assets.approval.dates import dates_in
from fine_tune_assets.approval.flags import kind_of
from fine_tune_assets.approval.mentions import findings_in
from fine_tune_assets.approval.sides import sides_in
from fine_tune_assets.core.fingerprints import fingerprint_text

SEED = 20260101
_OTHER_UNIT = {"mg": "mcg", "milligrams": "micrograms", "mcg": "mg", "g": "mg", "ml": "l", "cm": "mm", "mm": "cm",
               "days": "weeks", "day": "week", "weeks": "months", "week": "month", "months": "years",
               "hours": "days"}  # fmt: skip
_OTHER_SIDE = {"left": "right", "right": "left"}
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
Plant = Callable[[str, str, random.Random], str | None]


@dataclass(frozen=True)
class Pair:
    name: str
    input: str
    output: str

    @property
    def half(self) -> str:
        return "tune" if int(fingerprint_text(self.output)[:8], 16) % 2 else "report"


def read_pairs(folder: Path) -> Iterator[Pair]:
    for path in sorted((folder / "clin_mts_dialog").glob("MTS-Dialog-*.csv")):
        for row in _rows(path):
            yield Pair("mts-dialog", row["dialogue"], row["section_text"])
    for path in sorted((folder / "clin_aci_bench").glob("*.csv")):
        for row in _rows(path):
            if "dialogue" in row:
                yield Pair("aci-bench", row["dialogue"], row["note"])
    for path in sorted((folder / "clin_primock57" / "notes").glob("*.json")):
        said = "\n".join(
            _spoken(side) for side in sorted((folder / "clin_primock57" / "transcripts").glob(f"{path.stem}_*"))
        )
        note = json.loads(path.read_text(encoding="utf-8"))["note"]
        if said and note:
            yield Pair("primock57", said, note)


def _spoken(path: Path) -> str:
    """What one side says, without the times of its turns and the marks of the transcriber."""
    said = re.findall(r'^\s*text = "(.*)"\s*$', path.read_text(encoding="utf-8"), re.MULTILINE)
    return "\n".join(re.sub(r"<[^>]*>", " ", turn) for turn in said if turn.strip())


def _rows(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(10_000_000)
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _swap(output: str, matches: list[Any], other: Callable[[str], str], rng: random.Random) -> str | None:
    if not matches:
        return None
    match = rng.choice(matches)
    return output[: match.start()] + other(match.group()) + output[match.end() :]


def other_number(output: str, _input: str, rng: random.Random) -> str | None:
    return _swap(
        output, list(re.finditer(r"(?<![\d.,/])\d{1,3}(?![\d.,/])", output)), lambda n: str(int(n) * 2 + 1), rng
    )


def other_unit(output: str, _input: str, rng: random.Random) -> str | None:
    found = list(re.finditer(rf"(?<=\d )(?:{'|'.join(_OTHER_UNIT)})\b", output, re.IGNORECASE))
    return _swap(output, found, lambda unit: _OTHER_UNIT[unit.lower()], rng)


def other_side(output: str, _input: str, rng: random.Random) -> str | None:
    real = {side.written.split()[0] for side in sides_in(output)} & {"left", "right", "Left", "Right"}
    found = [m for m in re.finditer(r"\b(?:left|right)\b(?= [a-z])", output, re.IGNORECASE) if m.group() in real]
    return _swap(output, found, lambda side: _OTHER_SIDE[side.lower()], rng)


def no_negation(output: str, _input: str, rng: random.Random) -> str | None:
    """A negated finding is asserted."""
    found = list(re.finditer(r"\b(?:no|denies|without|denied)\s+(?:any\s+)?(?=[a-z])", output, re.IGNORECASE))
    negated = [
        m for m in found if any(f.written.lower().startswith(m.group().split()[0].lower()) for f in findings_in(output))
    ]
    return _swap(output, negated, lambda _: "has ", rng)


def more_negation(output: str, _input: str, rng: random.Random) -> str | None:
    """An asserted finding is negated."""
    words = {f.written for f in findings_in(output) if f.state == "asserted"}
    found = [m for m in re.finditer(r"\b[A-Za-z]+\b", output) if m.group() in words]
    return _swap(output, found, lambda word: f"no {word}", rng)


def other_date(output: str, _input: str, rng: random.Random) -> str | None:
    if not any(True for _ in dates_in(output)):
        return None
    months = list(re.finditer(rf"\b(?:{'|'.join(_MONTHS)})\b(?= \d)", output))
    if months:
        return _swap(output, months, lambda m: _MONTHS[(_MONTHS.index(m) + 5) % 12], rng)
    return _swap(output, list(re.finditer(r"(?<=[/-])\d{1,2}(?=[/-])", output)), lambda d: str(int(d) % 28 + 1), rng)


PLANTS: dict[str, tuple[Plant, str]] = {
    "another number": (other_number, "number not in input"),
    "another unit": (other_unit, "unit not in input"),
    "the other side": (other_side, "side not in input"),
    "a negation left out": (no_negation, "negation not in input"),
    "a negation added": (more_negation, "negation not in input"),
    "another date": (other_date, "date not in input"),
}
"""Planted error → how it is made, and the kind of flag that should find it."""


def measure(pairs: list[Pair]) -> dict[str, Any]:
    planted: dict[str, Counter[str]] = defaultdict(Counter)
    alarms: Counter[str] = Counter()
    for place, pair in enumerate(pairs):
        before = check_output(pair.output, pair.input)
        alarms.update(
            {kind_of(flag) for flag in before} | ({"label noise"} if noise_of(pair.input, pair.output) else set())
        )
        alarms["any"] += bool(before)
        for name, (plant, kind) in PLANTS.items():
            changed = plant(pair.output, pair.input, random.Random(SEED + place))
            if changed is None or changed == pair.output:
                continue
            new = set(check_output(changed, pair.input)) - set(before)
            planted[name]["planted"] += 1
            planted[name]["flagged"] += bool(new)
            planted[name]["flagged by its kind"] += any(kind_of(flag) == kind for flag in new)
    return {
        "pairs": len(pairs),
        "planted": {name: dict(counts) for name, counts in planted.items()},
        "untouched flagged": dict(alarms),
    }


def show(half: str, figures: dict[str, Any]) -> None:
    found = Table("planted", "times", "flagged", "by its kind", title=f"Planted errors, half `{half}`")
    for name, counts in figures["planted"].items():
        total = counts["planted"]
        found.add_row(name, str(total), *(f"{counts[key] / total:.3f}" for key in ("flagged", "flagged by its kind")))
    alarms = Table("kind", "pairs", "share", title=f"{figures['pairs']} untouched human pairs, half `{half}`")
    for kind, count in sorted(figures["untouched flagged"].items()):
        alarms.add_row(kind, str(count), f"{count / figures['pairs']:.3f}")
    Console(file=sys.stdout, width=100).print(found, alarms)


def examples(pairs: list[Pair], kind: str, count: int) -> Iterator[str]:
    """Flags of untouched pairs, drawn at random: for reading by eye."""
    flagged = [(p, f) for p in pairs for f in check_output(p.output, p.input) if kind in ("any", kind_of(f))]
    for pair, flag in random.Random(SEED).sample(flagged, min(count, len(flagged))):
        yield f"{'=' * 80}\n{pair.name} | {flag}\n--- output\n{pair.output[:1500]}\n--- input\n{pair.input[:4000]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds clin_mts_dialog, clin_aci_bench and clin_primock57")
    parser.add_argument("--half", choices=("tune", "report"), default="report")
    parser.add_argument(
        "--examples", metavar="KIND", help="print flags of untouched pairs instead; `any` for every kind"
    )
    parser.add_argument("--count", type=int, default=40)
    asked = parser.parse_args()
    pairs = [pair for pair in read_pairs(asked.folder) if pair.half == asked.half]
    if asked.examples:
        print("\n".join(examples(pairs, asked.examples, asked.count)))
        return
    figures = measure(pairs)
    show(asked.half, figures)
    print(json.dumps({"benchmark": "drafts", "half": asked.half, **figures}))


if __name__ == "__main__":
    main()
