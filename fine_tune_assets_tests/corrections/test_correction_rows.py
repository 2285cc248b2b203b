from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table, keyed_hash
from fine_tune_assets.core.prompts.retrieval_contract import AnswerSources, CorrectionPassage
from fine_tune_assets.core.shared_records import Correction
from fine_tune_assets.corrections.correction_table import raw_corrections_table
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import conform

SECRET = b"s" * 32
CORRECTIONS = [
    Correction(name, "r-1", "ward 3", "Summarize.", "Input", "Wrong", f"Right {name}", datetime(2026, 1, 1, tzinfo=UTC))
    for name in ("c-2", "c-1")
]


def test_each_row_has_the_corrected_answer_as_output() -> None:
    """The wrong answer must never become training data."""
    table = raw_corrections_table(CORRECTIONS, SECRET)
    assert table.schema.equals(ScrubbedCorrection.SCHEMA)
    assert table.column("correction_id").to_pylist() == ["c-1", "c-2"]
    assert table.column("output").to_pylist() == ["Right c-1", "Right c-2"]
    assert table.column("answer").to_pylist() == ["Wrong", "Wrong"]


def test_reasoning_in_a_correction_is_not_trained_on() -> None:
    """A client may show what a model wrote before its answer, and send it back."""
    thought = replace(CORRECTIONS[0], answer="<think>Hm.</think>Wrong", corrected_answer="<think>Hm.</think>Right")
    table = raw_corrections_table([thought], SECRET)
    assert (table.column("answer").to_pylist(), table.column("output").to_pylist()) == (["Wrong"], ["Right"])


def test_each_correction_has_its_own_subject_key() -> None:
    """Splits are by subject: a shared key would put all corrections into the same split."""
    keys = raw_corrections_table(CORRECTIONS, SECRET).column("subject_key").to_pylist()
    assert keys == [keyed_hash(SECRET, "correction/c-1"), keyed_hash(SECRET, "correction/c-2")]


def test_arrival_order_does_not_change_the_table() -> None:
    """The same corrections must not make downstream assets stale."""
    tables = [raw_corrections_table(c, SECRET) for c in (CORRECTIONS, CORRECTIONS[::-1])]
    assert fingerprint_table(tables[0]) == fingerprint_table(tables[1])


def test_no_corrections_give_an_empty_table() -> None:
    """The first run of every installation."""
    assert raw_corrections_table([], SECRET).num_rows == 0


def test_missing_passages_differ_from_no_passages() -> None:
    """A correction with missing passages is quarantined; one without passages is not."""
    passage = CorrectionPassage("p1", "Leave", "leave.md", "2", ("Rules",), "20 days.", ("everyone",))
    sources = (AnswerSources("f" * 64, ("p1",), (passage,)), AnswerSources("f" * 64, ("p1",), ()), None)
    rows = [replace(CORRECTIONS[0], correction_id=f"c-{n}", answer_sources=one) for n, one in enumerate(sources)]
    table = raw_corrections_table(rows, SECRET)
    assert table.column("passages").to_pylist() == [
        [asdict(passage) | {"headings": ["Rules"], "labels": ["everyone"]}], [], None,
    ]  # fmt: skip
    assert table.column("knowledge_index").to_pylist() == ["f" * 64, "f" * 64, None]


def test_a_table_with_passages_survives_parquet(tmp_path: Path) -> None:
    """Storage must not change the fingerprint that a decision is bound to."""
    passage = CorrectionPassage("p1", "Leave", "leave.md", "2", ("Rules",), "20 days.", ("everyone",))
    sources = (AnswerSources("f" * 64, ("p1",), (passage,)), AnswerSources("f" * 64, ("p1",), ()), None)
    rows = [replace(CORRECTIONS[0], correction_id=f"c-{n}", answer_sources=one) for n, one in enumerate(sources)]
    table = raw_corrections_table(rows, SECRET)
    write_table(tmp_path / "t.parquet", table)
    read = conform(pq.read_table(tmp_path / "t.parquet"), ScrubbedCorrection.SCHEMA)
    assert read.to_pylist() == table.to_pylist()
    assert fingerprint_table(read) == fingerprint_table(table)
    old = conform(pq.read_table(tmp_path / "t.parquet").drop_columns(["passages"]), ScrubbedCorrection.SCHEMA)
    assert old.column("passages").null_count == 3
