"""Headings are found again in the scrubbed text, and their words are scrubbed."""

from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.defs.s02_scrubbed_reports.heading_places import add_headings, move_headings
from fine_tune_assets.phi.table_scrubber import ScrubJob, ScrubOutputs, scrub_report_table
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets.tables.common_columns import HeadingLine

TEXT = """---
subject_id: A-1
subject_name: Anna Schmidt
address: |-
  17 Quarry Lane
  Dayton, OH 45416
---
# Report

Anna Schmidt
17 Quarry Lane
Dayton, OH 45416

## Statement of Anna Schmidt

Mrs Schmidt saw smoke on 3 May 2024.

## Cause

A cable.
"""


def test_the_headings_of_a_scrubbed_report_are_found_and_hold_no_identifier(tmp_path: Path) -> None:
    """A heading with a name is scrubbed like any text, and still ends the section before it."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.md").write_text(TEXT)
    reports = read_batch(tmp_path / "b", "b", b"k" * 32, ReadLimits()).reports
    files = {name: tmp_path / f"{name}.parquet" for name in ("scrubbed", "spans", "withheld", "values")}
    write_table(tmp_path / "raw.parquet", reports)
    job = ScrubJob(load_recipe("finance_complaints").scrubber, b"s" * 32, tmp_path / "cache", [], date(2026, 3, 1))
    scrub_report_table(tmp_path / "raw.parquet", job, ScrubOutputs(**files), ignore_progress)
    scrubbed, lost = add_headings(pq.read_table(files["scrubbed"]), reports, pq.read_table(files["spans"]))
    (row,) = scrubbed.to_pylist()
    lines = row["text"].splitlines()
    found = [lines[heading["line"] - 1] for heading in row["headings"]]
    assert lost == 0
    assert (found[0], found[2]) == ("# Report", "## Cause")
    assert found[1].startswith("## Statement of ")
    assert "Schmidt" not in row["text"]
    tagged = row["tagged_text"].splitlines()
    assert tagged.index("## Cause") > tagged.index("# Report")


_WORDS = st.text(alphabet="ab \n", max_size=12)


@given(st.lists(st.tuples(_WORDS, _WORDS.filter(bool), _WORDS.filter(bool)), max_size=5), _WORDS)
def test_a_heading_outside_of_identifiers_keeps_its_words(parts: list[tuple[str, str, str]], rest: str) -> None:
    """Whatever is replaced, also across lines, each heading is found or dropped, never moved to another line."""
    raw, scrubbed, spans = "", "", list[tuple[int, int]]()
    for number, (kept, old, new) in enumerate(parts):
        kept = f"{kept}\nH{number}\n"
        spans.append((len(raw) + len(kept), len(raw) + len(kept) + len(old)))
        raw, scrubbed = raw + kept + old, scrubbed + kept + new
    raw, scrubbed = raw + rest, scrubbed + rest
    lines = raw.splitlines()
    headings = [HeadingLine(line=at, level=1) for at, line in enumerate(lines, start=1) if line.startswith("H")]
    moved = move_headings(headings, raw, spans, scrubbed)
    assert [scrubbed.splitlines()[one.line - 1][:2] for one in moved] == [f"H{number}" for number in range(len(parts))]


def test_a_heading_within_an_identifier_is_dropped_and_another_text_has_none() -> None:
    heading = [HeadingLine(line=2, level=1)]
    assert move_headings(heading, "Jo\nAlder\nSeen.", [(0, 8)], "Kim\nSeen.") == ()
    assert move_headings(heading, "Seen by\nJo", [(8, 10)], "Another text") == ()
