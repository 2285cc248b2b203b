"""Writes reports as the files of a batch folder: text, Markdown, HTML and RTF, rows of CSV and lines of JSON."""

import csv
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.domain_samples.markup import Span

TABLE_FORMATS = frozenset({"csv", "jsonl"})


@dataclass(frozen=True)
class Report:
    report_id: str
    subject_id: str
    layout: str
    format: str
    text: str
    """As the platform reads it."""
    spans: tuple[Span, ...]
    sections: Mapping[str, str]
    """Heading and text, in order; rows of a table have one column for each."""
    metadata: Mapping[str, str]
    """What the front matter or sidecar states besides the subject."""


def write_batch(folder: Path, reports: Sequence[Report], source: str) -> None:
    """Write a batch folder with its `batch.yaml`."""
    folder.mkdir(parents=True)
    headings = list(reports[0].sections)
    records = {
        "report_id": "report_id",
        "subject_id": "subject_id",
        "sections": {_column(heading): heading for heading in headings},
    }
    about = "# How this batch is read. Every key is explained in data/README.md.\n"
    _write(folder / "batch.yaml", about + _dump({"source": source, "records": records}))
    for report in reports:
        if report.format not in TABLE_FORMATS:
            _write_document(folder, report)
    for suffix in sorted(TABLE_FORMATS):
        rows = [_row(report) for report in reports if report.format == suffix]
        if rows:
            _write(folder / f"rows.{suffix}", format_csv(rows) if suffix == "csv" else format_jsonl(rows))


def _write_document(folder: Path, report: Report) -> None:
    path, metadata = (
        folder / f"{report.report_id}.{report.format}",
        {"subject_id": report.subject_id, **report.metadata},
    )
    if report.format in ("html", "rtf"):
        _write(path.with_suffix(".yaml"), _dump(metadata))
        content = format_html(report.text, report.sections) if report.format == "html" else format_rtf(report.text)
    else:
        content = f"---\n{_dump(metadata)}---\n{report.text}\n"
    _write(path, content)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Page</title></head>
<body>
{body}
</body>
</html>
"""


def format_html(text: str, headings: Iterable[str]) -> str:
    """Headings, lists, tables and paragraphs of a text whose blocks are separated by blank lines."""
    blocks = [_format_block(block.split("\n"), set(headings)) for block in text.split("\n\n")]
    return _PAGE.format(body="\n".join(blocks))


def _format_block(lines: list[str], headings: set[str]) -> str:
    shown = [html.escape(line, quote=False) for line in lines]
    if len(lines) == 1 and lines[0] in headings:
        return f"<h2>{shown[0]}</h2>"
    if all(line.startswith("- ") for line in lines):
        return "<ul>" + "".join(f"<li>{line[2:]}</li>" for line in shown) + "</ul>"
    if all(" | " in line for line in lines):
        cells = ("".join(f"<td>{cell}</td>" for cell in line.split(" | ")) for line in shown)
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"
    return "<p>" + "<br>\n".join(shown) + "</p>"


def format_rtf(text: str) -> str:
    lines = ("".join(_escape_rtf(c) for c in line) for line in text.split("\n"))
    return "{\\rtf1\\ansi\\ansicpg1252\\uc1\\deff0{\\fonttbl{\\f0 Calibri;}}\n" + "\\par\n".join(lines) + "\\par\n}\n"


def _escape_rtf(character: str) -> str:
    if character in "\\{}":
        return f"\\{character}"
    code = ord(character)
    return character if code < 128 else f"\\u{code - 65536 if code > 32767 else code}?"


def format_csv(rows: Sequence[Mapping[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def format_jsonl(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _row(report: Report) -> dict[str, str]:
    sections = {_column(heading): text for heading, text in report.sections.items()}
    return {"report_id": report.report_id, "subject_id": report.subject_id, **sections}


def _column(heading: str) -> str:
    return heading.lower().replace(" ", "_")


def _dump(values: Mapping[str, object]) -> str:
    return yaml.safe_dump(dict(values), allow_unicode=True, sort_keys=False)


def _write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", newline="\n")
