"""Invented reports of three domains that no shipped pack covers, each in the format in which it would be delivered."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

_CAUSES = ("burst pipe", "storm", "fire", "theft", "hail")
_ROOMS = ("kitchen", "roof", "cellar", "attic", "garage", "porch")
_PARTS = ("starboard winch", "bilge pump", "main mast", "rudder stock", "anchor chain")
_TOPICS = ("overtime", "shift swaps", "holiday requests", "tools", "parking")


def write_damage_csv(folder: Path, count: int) -> None:
    """Insurance: one row per report, headings from batch.yaml."""
    folder.mkdir(parents=True)
    (folder / "batch.yaml").write_text(
        "source: claims\nrecords:\n  subject_id: holder\n  report_id: number\n  sections:\n    what: Scope of damage\n"
        "    how: Course of events\n    cause: Cause\n",
        encoding="utf-8",
    )
    with (folder / "reports.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["number", "holder", "what", "how", "cause"])
        for n in range(count):
            room, cause = _ROOMS[n % len(_ROOMS)], _CAUSES[n % len(_CAUSES)]
            what = f"The {room} is damaged over {n + 3} square metres, and item {n} of the inventory is lost."
            how = f"On day {n} the holder found water and soot in the {room}. The {cause} was noticed {n} hours later."
            rows.writerow([f"d{n}", f"h{n}", what, how, cause])


def write_ship_texts(folder: Path, count: int) -> None:
    """Ship inspections: Markdown and plain text, headings of two forms."""
    folder.mkdir(parents=True)
    for n in range(count):
        part = _PARTS[n % len(_PARTS)]
        sections = {
            "Observations": f"The {part} shows {n} marks of wear, and bolt {n} is loose.",
            "Measurements": f"Play of {n + 2} mm at the {part}; grease point {n} is dry.",
            "Recommendation": f"Renew bolt {n} and grease the {part} within {n + 7} days.",
        }
        mark, suffix = ("## ", "md") if n % 2 else ("", "txt")
        body = "\n\n".join(f"{mark}{heading}\n\n{text}" for heading, text in sections.items())
        (folder / f"r{n}.{suffix}").write_text(f"---\nsubject_id: vessel-{n}\n---\n{body}\n", encoding="utf-8")


def write_grievance_jsonl(folder: Path, count: int) -> None:
    """Staff grievances: one JSON object per line."""
    folder.mkdir(parents=True)
    (folder / "batch.yaml").write_text(
        "source: staff\nrecords:\n  subject_id: staff\n  sections: {issue: Issue, steps: Steps taken, outcome: Outcome}\n",
        encoding="utf-8",
    )
    lines = []
    for n in range(count):
        topic = _TOPICS[n % len(_TOPICS)]
        row = {
            "staff": f"p{n}",
            "issue": f"The rota of week {n} ignored {topic}, as raised {n + 1} times.",
            "steps": f"A talk on {topic} took place on day {n}; note {n} was filed.",
            "outcome": f"From week {n + 2} on, {topic} are agreed two weeks ahead.",
        }
        lines.append(json.dumps(row))
    (folder / "reports.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


FOREIGN: dict[str, tuple[Callable[[Path, int], None], tuple[str, ...]]] = {
    "damage": (write_damage_csv, ("Scope of damage", "Course of events", "Cause")),
    "ships": (write_ship_texts, ("Observations", "Measurements", "Recommendation")),
    "grievances": (write_grievance_jsonl, ("Issue", "Steps taken", "Outcome")),
}
"""Name → how its reports are written, and their sections in order."""

_PACK = """description: Reports about {name}.
subject: {{one: {one}, many: {one}s}}
report: {{one: report, many: reports}}
rule_sets: [names, places, dates, contacts, numbers]
tagger: law_finance
dates: all
labelled_sets: [evaluation/{name}_phi]
checks: [numbers, units, dates]
"""
_NOUNS = {"damage": "holder", "ships": "vessel", "grievances": "employee"}


def write_pack(data: Path, name: str) -> str:
    folder = data / "packs" / name
    folder.mkdir(parents=True)
    (folder / "pack.yaml").write_text(_PACK.format(name=name, one=_NOUNS[name]), encoding="utf-8")
    return f"packs/{name}"
