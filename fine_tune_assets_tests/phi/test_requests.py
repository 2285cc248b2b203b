"""Requests from Dagster steps: tables in, tables out, and only counts in the answer."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.phi.__main__ import measure_scrub_recall, scrub_corrections, scrub_reports
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.recipes.schema import ScrubberSettings
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import conform, table_from_rows
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall

MARKER = "Zyxwvutquark"


def test_scrub_writes_its_tables_and_returns_counts(
    tmp_path: Path, request_of: dict[str, Any], settings: ScrubberSettings
) -> None:
    """The answer goes into Dagster's event log, so the planted name must not be in it, nor in any output file."""
    report = {
        "report_id": "b/1",
        "batch": "b",
        "source": "s",
        "subject_key": "k",
        "origin_file": "f",
        "fingerprint": "x",
    }
    known = [{"kind": "name", "value": MARKER}]
    text = f"{MARKER.lower()} was seen on 03/14/2024."
    write_table(
        tmp_path / "in.parquet", table_from_rows([{**report, "text": text, "known_identifiers": known}], Report.SCHEMA)
    )
    made = {name: str(tmp_path / f"{name}.parquet") for name in ("scrubbed", "spans", "withheld", "values")}
    result = scrub_reports({**request_of, "reports": str(tmp_path / "in.parquet"), **made}, ignore_progress)
    assert result == {
        "reports": 1,
        "withheld": 0,
        "spans": 2,
        "cache_hits": 0,
        "spans_by_kind": {"DATE": 1, "NAME": 1},
        "scrubber_version": scrubber_version(settings),
    }
    for written in (json.dumps(result), *(str(pq.read_table(path).to_pylist()) for path in made.values())):
        assert MARKER.lower() not in written.lower()
    cache = b"".join(path.read_bytes() for path in Path(request_of["cache"]).iterdir())
    assert MARKER.lower().encode() not in cache.lower()


def test_all_texts_of_a_correction_are_scrubbed(tmp_path: Path, request_of: dict[str, Any]) -> None:
    """Users may name a patient in the question, the input or the answer."""
    correction = {"correction_id": "c", "release_id": "r", "author": "u", "subject_key": "k"}
    texts = dict.fromkeys(("instruction", "input", "output", "answer"), "Dr. Quixley came on 03/14/2024.")
    write_table(tmp_path / "in.parquet", table_from_rows([{**correction, **texts}], ScrubbedCorrection.SCHEMA))
    files = {"corrections": str(tmp_path / "in.parquet"), "output": str(tmp_path / "out.parquet")}
    settings = {**request_of["settings"], "replacement": "tags"}
    result = scrub_corrections({**request_of, **files, "settings": settings}, ignore_progress)
    assert (result["corrections"], result["withheld"]) == (1, 0)
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    absent = dict.fromkeys(("error_kind", "severity", "received_at", "edit_fraction", "knowledge_index", "passages"))
    assert row == {**correction, **dict.fromkeys(texts, "[NAME] came on [DATE]."), **absent}


def test_measuring_writes_the_table_and_returns_the_recall(tmp_path: Path, settings: ScrubberSettings) -> None:
    """The gate before scrubbing reads this number."""
    gold = {"id": "1", "text": "On 03/14/2024.", "spans": [{"start": 3, "end": 13, "label": "DATE"}]}
    (tmp_path / "gold.jsonl").write_text(json.dumps(gold))
    output = tmp_path / "out.parquet"
    request = {"gold": [str(tmp_path / "gold.jsonl")], "output": str(output), "settings": asdict(settings)}
    assert measure_scrub_recall(request, ignore_progress) == {
        "recall": 1.0,
        "scrubber_version": scrubber_version(settings),
    }
    table = conform(pq.read_table(output), ScrubRecall.SCHEMA)
    recalls = [row["label"] for row in table.to_pylist() if row["measure"] == "masked_recall"]
    assert recalls == ["DATE", "all"]
