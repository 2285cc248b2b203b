"""What a verifier is trained on: the installation's own examples and experts' labels, and no text that measures it or a model."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.judging.judges.verifier.training_reports import InvalidReportsError, read_reports, split_reports
from fine_tune_assets.judging.judges.verifier.verifier_sources import gather_sources
from fine_tune_assets.ledger.reviews.statement_labels import LabelledTexts, StatementLabel

STANDARD = "I have had a cough for some weeks, and nothing else bothers me at the moment, thank you doctor."


def _record(number: int) -> str:
    """A dialogue of its own words, with one sentence that all have."""
    return (
        " ".join(f"{word}{number}" for word in ("sleep", "walk", "stairs", "heart", "knee", "work", "tea") * 2)
        + f" {STANDARD}"
    )


def _store(layout: Layout, table: str, rows: list[dict[str, object]]) -> None:
    path = layout.table(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _example(number: int, split: str = "train", **changes: object) -> dict[str, object]:
    asked = f"Write the note.\n\n{_record(number)}"
    return {
        "example_id": f"e{number}",
        "split": split,
        "subject_key": f"s{number}",
        "is_general": False,
        "task": "plan",
        "source": "reports",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": asked},
            {"role": "assistant", "content": f"Cough for {number} weeks."},
        ],
        **changes,
    }


def _label(answer: str, statement: str) -> StatementLabel:
    return StatementLabel(
        example_id="e3",
        subject_key="s3",
        model_fingerprint="m",
        answer_fingerprint=fingerprint_text(answer),
        statement_fingerprint=fingerprint_text(statement),
        criterion="factual_accuracy",
        judge_support="supported",
        judge_probability=0.9,
        judge_version="v",
        support="contradicted",
        labeller="Reviewer",
        labelled_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_tested_general_and_planted_examples_train_no_verifier(tmp_path: Path) -> None:
    """A verifier that knows the test examples would judge from memory."""
    layout = Layout(tmp_path)
    rows = [_example(n) for n in range(30)]
    rows += [_example(40, "test"), _example(41, is_general=True), _example(42, source="planted_secret")]
    _store(layout, "instruction_sets", rows)
    sources = gather_sources(layout, [])
    used = {report.subject for report in (*sources.training, *sources.measured)}
    assert used == {f"s{n}" for n in range(30)}
    assert not used & {"s40", "s41", "s42"}
    assert not {report.subject for report in sources.training} & {report.subject for report in sources.measured}


def test_a_report_with_the_text_of_a_tested_example_is_removed_and_counted(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    twin = _example(52, "test")
    _store(layout, "instruction_sets", [_example(n) for n in range(30)] + [twin, {**twin, "split": "train"}])
    sources = gather_sources(layout, [])
    assert "s52" not in {report.subject for report in (*sources.training, *sources.measured)}
    assert sources.certificate.removed_reports == 1


def test_standard_sentences_are_no_copies_and_copies_alone_train_nothing(tmp_path: Path) -> None:
    """Each note of an inspector's reports consists of sentences that other reports have too: nothing was left to train on."""
    layout = Layout(tmp_path)
    rows = [_example(n, "train" if n < 30 else "test") for n in range(60)]
    _store(layout, "instruction_sets", rows)
    assert gather_sources(layout, []).certificate.removed_reports == 0
    copies = [{**_example(n), "subject_key": f"t{n}", "split": "test"} for n in range(30)]
    _store(layout, "instruction_sets", [*rows[:30], *copies])
    with pytest.raises(InvalidReportsError):
        gather_sources(layout, [])


def test_a_statement_that_an_expert_overruled_is_a_pair_with_the_text_it_was_compared_with(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    _store(layout, "instruction_sets", [_example(n) for n in range(30)])
    record, statement = _record(3), "Cough for 9 weeks."
    texts = LabelledTexts(record, statement, fingerprint_text(record))
    sources = gather_sources(layout, [], [(_label(statement, statement), texts)])
    (pair,) = sources.labelled
    assert sources.labelled_groups == {fingerprint_text(record)}
    assert (pair.record, pair.statement, pair.label) == (record, statement, "contradicted")


def test_reports_of_a_test_file_and_texts_kept_apart_are_not_in_the_training(tmp_path: Path) -> None:
    layout, reports, tests = Layout(tmp_path), tmp_path / "reports.jsonl", tmp_path / "tests.jsonl"
    rows = [{"subject": f"s{n}", "record": _record(n), "note": f"Cough for {n} weeks."} for n in range(30)]
    reports.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tests.write_text(json.dumps(rows[3]) + "\n")
    sources = gather_sources(layout, [reports], test_files=[tests], kept_apart=[_record(5)])
    assert [report.subject for report in sources.measured] == ["s3"]
    assert not {"s3", "s5"} & {report.subject for report in sources.training}


def test_too_few_subjects_are_refused() -> None:
    with pytest.raises(InvalidReportsError):
        split_reports([])


@pytest.mark.parametrize("content", ["{", '{"subject": "a", "record": "b"}', "[1]"])
def test_an_invalid_file_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "reports.jsonl"
    file.write_text(content + " Zyxw")
    with pytest.raises(InvalidReportsError) as caught:
        read_reports([file])
    assert "Zyxw" not in str(caught.value)
