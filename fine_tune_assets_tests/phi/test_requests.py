"""The requests that the Dagster steps send: tables in, tables out, and only counts in the answer."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.tables import (
    PHI_SPANS,
    REPORTS,
    SCRUBBED_CORRECTIONS,
    SCRUBBED_REPORTS,
    check_table,
    table_of,
)
from fine_tune_assets.phi.__main__ import measure, scrub, scrub_corrections
from fine_tune_assets.recipes.schema import ScrubSettings

MARKER = "Zyxwvutquark"


def test_scrub_writes_both_tables_and_answers_with_counts(tmp_path: Path, settings: ScrubSettings) -> None:
    """The answer goes into Dagster's event log: the planted name must not be in it."""
    report = {
        "report_id": "b/1",
        "batch": "b",
        "source": "s",
        "patient_key": "k",
        "origin_file": "f",
        "fingerprint": "x",
    }
    known = [{"kind": "name", "value": MARKER}]
    text = f"{MARKER.lower()} was seen on 03/14/2024."
    write_table(tmp_path / "in.parquet", table_of([{**report, "text": text, "known_identifiers": known}], REPORTS))
    request = {
        "reports": str(tmp_path / "in.parquet"),
        "scrubbed": str(tmp_path / "out.parquet"),
        "spans": str(tmp_path / "spans.parquet"),
        "settings": asdict(settings),
    }
    result = scrub(request, silent)
    assert {k: result[k] for k in ("reports", "spans", "by_label")} == {
        "reports": 1,
        "spans": 2,
        "by_label": {"DATE": 1, "NAME": 1},
    }
    assert MARKER.lower() not in json.dumps(result).lower()
    check_table(pq.read_table(tmp_path / "out.parquet").cast(SCRUBBED_REPORTS), SCRUBBED_REPORTS)
    check_table(pq.read_table(tmp_path / "spans.parquet").cast(PHI_SPANS), PHI_SPANS)


def test_corrections_are_scrubbed_in_all_three_texts(tmp_path: Path, settings: ScrubSettings) -> None:
    """What a user types may name a patient in the question, the input or the answer."""
    correction = {"correction_id": "c", "release_id": "r", "author": "u", "patient_key": "k"}
    texts = dict.fromkeys(("instruction", "input", "output"), "Dr. Quixley, 03/14/2024.")
    write_table(tmp_path / "in.parquet", table_of([{**correction, **texts}], SCRUBBED_CORRECTIONS))
    request = {"corrections": tmp_path / "in.parquet", "output": tmp_path / "out.parquet", "settings": asdict(settings)}
    assert scrub_corrections(request, silent)["corrections"] == 1
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert row == {**correction, **dict.fromkeys(texts, "[NAME], [DATE].")}


def test_measuring_writes_the_table_and_answers_with_the_recall(tmp_path: Path, settings: ScrubSettings) -> None:
    """The gate before scrubbing reads this number."""
    gold = {"id": "1", "text": "On 03/14/2024.", "spans": [{"start": 3, "end": 13, "label": "DATE"}]}
    (tmp_path / "gold.jsonl").write_text(json.dumps(gold))
    request = {
        "gold": [str(tmp_path / "gold.jsonl")],
        "output": str(tmp_path / "out.parquet"),
        "settings": asdict(settings),
    }
    assert measure(request, silent)["recall"] == 1.0
    assert pq.read_table(tmp_path / "out.parquet").column("label").to_pylist() == ["DATE", "all"]
