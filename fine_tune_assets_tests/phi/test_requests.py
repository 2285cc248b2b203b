"""The requests that the Dagster steps send: tables in, tables out, and only counts in the answer."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import silent
from fine_tune_assets.phi.__main__ import measure, scrub, scrub_corrections
from fine_tune_assets.phi.scrubbing import scrubber_version
from fine_tune_assets.recipes.schema import ScrubSettings
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.phi import ScrubRecall
from fine_tune_assets.tables.records import conform, table_of
from fine_tune_assets.tables.reports import Report

MARKER = "Zyxwvutquark"


def test_scrub_writes_its_tables_and_answers_with_counts(
    tmp_path: Path, request_of: dict[str, Any], settings: ScrubSettings
) -> None:
    """The answer goes into Dagster's event log: the planted name must not be in it, nor in any file but the first."""
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
    write_table(
        tmp_path / "in.parquet", table_of([{**report, "text": text, "known_identifiers": known}], Report.SCHEMA)
    )
    made = {name: str(tmp_path / f"{name}.parquet") for name in ("scrubbed", "spans", "held", "values")}
    result = scrub({**request_of, "reports": str(tmp_path / "in.parquet"), **made}, silent)
    assert result == {
        "reports": 1,
        "held": 0,
        "spans": 2,
        "from_cache": 0,
        "by_label": {"DATE": 1, "NAME": 1},
        "scrubber_version": scrubber_version(settings),
    }
    for written in (json.dumps(result), *(str(pq.read_table(path).to_pylist()) for path in made.values())):
        assert MARKER.lower() not in written.lower()
    cache = b"".join(path.read_bytes() for path in Path(request_of["cache"]).iterdir())
    assert MARKER.lower().encode() not in cache.lower()


def test_corrections_are_scrubbed_in_all_texts_and_so_is_the_answer(tmp_path: Path, request_of: dict[str, Any]) -> None:
    """What a user types may name a patient in the question, the input or the answer."""
    correction = {"correction_id": "c", "release_id": "r", "author": "u", "patient_key": "k"}
    texts = dict.fromkeys(("instruction", "input", "output", "answer"), "Dr. Quixley came on 03/14/2024.")
    write_table(tmp_path / "in.parquet", table_of([{**correction, **texts}], ScrubbedCorrection.SCHEMA))
    files = {"corrections": str(tmp_path / "in.parquet"), "output": str(tmp_path / "out.parquet")}
    settings = {**request_of["settings"], "replacement": "tags"}
    result = scrub_corrections({**request_of, **files, "settings": settings}, silent)
    assert (result["corrections"], result["held"]) == (1, 0)
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    absent = dict.fromkeys(("error_kind", "severity", "received_at", "edit_fraction", "knowledge_index", "passages"))
    assert row == {**correction, **dict.fromkeys(texts, "[NAME] came on [DATE]."), **absent}


def test_measuring_writes_the_table_and_answers_with_the_recall(tmp_path: Path, settings: ScrubSettings) -> None:
    """The gate before scrubbing reads this number."""
    gold = {"id": "1", "text": "On 03/14/2024.", "spans": [{"start": 3, "end": 13, "label": "DATE"}]}
    (tmp_path / "gold.jsonl").write_text(json.dumps(gold))
    output = tmp_path / "out.parquet"
    request = {"gold": [str(tmp_path / "gold.jsonl")], "output": str(output), "settings": asdict(settings)}
    assert measure(request, silent) == {"recall": 1.0, "scrubber_version": scrubber_version(settings)}
    table = conform(pq.read_table(output), ScrubRecall.SCHEMA)
    recalls = [row["label"] for row in table.to_pylist() if row["measure"] == "masked_recall"]
    assert recalls == ["DATE", "all"]
