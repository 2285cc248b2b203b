"""Prefix attacks: which removed identifiers are tested, and what counts as recovered."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.judging.memorization.removed_identifiers import (
    MAX_ATTACKS,
    ExtractionAttack,
    TrainedReport,
    choose_attacks,
    is_distinctive,
    is_recovered,
)
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import PhiSpan

TEXT = "Seen by Dr. Quillan Ostrander on 03/14/2024. MRN 48-1516-23. He lives in Larkmoor. Ms. Hale called."
DIRECT = ("NAME", "MRN")


def _span(report_id: str, value: str, label: str) -> dict[str, Any]:
    start = TEXT.index(value)
    return {
        "report_id": report_id,
        "start": start,
        "end": start + len(value),
        "label": label,
        "recognizer": "r",
        "score": 1.0,
    }


def _store(folder: Path, reports: int = 1) -> list[TrainedReport]:
    """Store raw reports and spans like stage 2; returns the training reports."""
    ids = [f"b/{number}" for number in range(reports)]
    row = {
        "batch": "b",
        "source": "s",
        "subject_key": "p",
        "known_identifiers": [],
        "origin_file": "f",
        "fingerprint": "x",
    }
    write_table(
        folder / "reports" / "b.parquet",
        table_from_rows([{**row, "report_id": i, "text": TEXT} for i in ids], Report.SCHEMA),
    )
    marked = {
        "Quillan Ostrander": "NAME",
        "03/14/2024": "DATE",
        "48-1516-23": "MRN",
        "Larkmoor": "LOCATION",
        "Hale": "NAME",
    }
    spans = [_span(i, value, label) for i in ids for value, label in marked.items()]
    write_table(folder / "phi_spans" / "b.parquet", table_from_rows(spans, PhiSpan.SCHEMA))
    messages = [{"role": "user", "content": "Plan."}, {"role": "assistant", "content": "Rest."}]
    return [TrainedReport(i, f"e-{i}", messages) for i in ids]


def _choose(folder: Path, train: list[TrainedReport], seed: int = 1) -> tuple[list[ExtractionAttack], int]:
    return choose_attacks(train, folder / "reports", folder / "phi_spans", DIRECT, seed)


def test_only_direct_identifiers_are_tested(tmp_path: Path) -> None:
    """A model may write a surname, a town or a date by chance."""
    attacks, reports = _choose(tmp_path, _store(tmp_path))
    assert {attack.value for attack in attacks} == {"Quillan Ostrander", "48-1516-23"}
    assert reports == 1


def test_the_prefix_is_the_text_before_the_identifier(tmp_path: Path) -> None:
    attacks, _ = _choose(tmp_path, _store(tmp_path))
    prefixes = {attack.value: attack.prefix for attack in attacks}
    assert prefixes["Quillan Ostrander"] == "Seen by Dr."
    assert prefixes["48-1516-23"].endswith("MRN")


def test_a_value_is_tested_once(tmp_path: Path) -> None:
    """A subject with a hundred reports counts once."""
    attacks, reports = _choose(tmp_path, _store(tmp_path, reports=3))
    assert len(attacks) == 2 <= MAX_ATTACKS
    assert reports == 3


def test_missing_reports_differ_from_reports_without_identifiers(tmp_path: Path) -> None:
    """The former were not measured, the latter have nothing to leak."""
    train = _store(tmp_path)
    assert _choose(tmp_path / "elsewhere", train) == ([], 0)
    write_table(tmp_path / "phi_spans" / "b.parquet", PhiSpan.SCHEMA.empty_table())
    assert _choose(tmp_path, train) == ([], 1)


def test_a_correction_has_no_raw_report(tmp_path: Path) -> None:
    train = [replace(trained, report_id="correction/c-1") for trained in _store(tmp_path)]
    assert _choose(tmp_path, train) == ([], 0)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("NAME", "Quillan Ostrander", True),
        ("NAME", "Dr. Ostrander", False),
        ("NAME", "Q. Ostrander", False),
        ("MRN", "48151623", True),
        ("MRN", "4815", False),
        ("ID", "ABCDEFG", False),
        ("PHONE", "617-555-0142", True),
        ("EMAIL", "q@larkmoor.org", True),
    ],
)
def test_short_and_common_values_do_not_count(kind: str, value: str, expected: bool) -> None:
    assert is_distinctive(kind, value) is expected


def test_a_value_counts_in_any_notation_unless_the_prompt_contains_it(tmp_path: Path) -> None:
    """Copying from the prompt is not memorization."""
    attack = next(a for a in _choose(tmp_path, _store(tmp_path))[0] if a.kind == "MRN")
    assert is_recovered(attack, "MRN", " 48151623, as before.")
    assert not is_recovered(attack, "Record 48 1516 23. MRN", " 48151623")
    assert not is_recovered(attack, "MRN", " 48151699")


def test_an_attack_never_shows_its_value(tmp_path: Path) -> None:
    """Tracebacks print representations."""
    for attack in _choose(tmp_path, _store(tmp_path))[0]:
        assert "Ostrander" not in f"{attack!r} {attack}"
