"""Tables and numbers of the cards that a release carries, as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MISSING = "not measured"
Row = Mapping[str, Any]


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; one sentence where there is no row."""
    lines = ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(names) + " |", "|" + " --- |" * len(names), *lines]) if lines else "None."


def cell(value: Any) -> str:
    if value is None:
        return MISSING
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def between(low: float | None, high: float | None) -> str:
    return MISSING if low is None or high is None else f"{low:.4g} to {high:.4g}"


def figures(rows: Sequence[Row], family: str) -> str:
    """The figures of a family of the verdict, with their 95 % intervals."""
    names = ("", "candidate", "compared with", "difference", "95 % interval", "items", "may lose", "outcome")
    return table(
        names,
        (
            (
                row.get("name"),
                row.get("candidate"),
                row.get("incumbent"),
                row.get("difference"),
                between(row.get("low"), row.get("high")),
                row.get("items"),
                "" if family == "target" or row.get("margin") is None else row["margin"],
                f"{row.get('outcome')}{': ' if row.get('why') else ''}{row.get('why') or ''}",
            )
            for row in rows
            if row.get("family") == family
        ),
    )


def removed_identifiers(scrub: Row) -> str:
    """How many of the labelled identifiers the scrubber removed, from the scrub certificate."""
    recall = [
        row
        for row in scrub["measures"]
        if row["measure"] == "masked_recall"
        and row["label"] in ("all", "direct")
        and row["labelled_set"] != scrub["misses_only"]
    ]
    shown = table(
        ("labelled set", "identifiers", "removed", "share", "95 % interval"),
        (
            (
                row["labelled_set"],
                row["label"],
                f"{row['hits']} of {row['total']}",
                row["value"],
                between(row["low"], row["high"]),
            )
            for row in recall
        ),
    )
    floors = ", ".join(f"{name} {floor:.4g}" for name, floor in sorted(scrub["floors"].items()))
    return f"{shown}\n\nThe recipe demands at least: {floors}. {scrub['why_not']}".rstrip()
