"""Grades with their statements, as text for a terminal. Takes the JSON that the command prints elsewhere."""

from collections.abc import Iterator, Mapping
from typing import Any


def describe_grade(row: Mapping[str, Any]) -> str:
    grades = [f"{_spoken(name)} {one['score']:.1f}" for name, one in row["criteria"].items()]
    if row["ungraded"]:
        grades.append(f"not graded: {', '.join(map(_spoken, row['ungraded']))}")
    score = f"no grade ({row['reason']})" if row["score"] is None else f"{row['score']:.1f}"
    return _printable([f"{row['id']}: {score}. {'; '.join(grades)}", *_lines(row["statements"])])


def _lines(statements: list[dict[str, Any]]) -> Iterator[str]:
    if not statements:
        yield "  No statement was checked."
    for one in statements:
        veto = f" (check: {one['veto']})" if one["veto"] else ""
        yield f"  {one['probability']:.2f} {one['support']}{veto}, {_spoken(one['criterion'])}: {one['text']}"
        if one["evidence"]:
            yield f"       > {one['evidence']}"


def _spoken(criterion: str) -> str:
    return criterion.replace("_", " ")


def _printable(lines: list[str]) -> str:
    """Without control characters, which an answer could use to change the terminal."""
    return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)
