"""The leakage certificate fails for each kind of leak and describes the search."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.shared_records import TextPair
from fine_tune_assets.instructions.assembly import InstructionSet
from fine_tune_assets.instructions.certificate import check_separation, issue_certificate
from fine_tune_assets.instructions.set_examples import ExampleText
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.instructions.examples import EVALUATION, PROMPT, SEARCH, built

BUILT = built()
ROWS = BUILT.table.to_pylist()
TRAIN = next(row for row in ROWS if row["split"] == "train" and not row["is_general"])
TEST = next(row for row in ROWS if row["split"] == "test")
GENERAL = next(row for row in ROWS if row["is_general"])


def with_rows(*rows: dict[str, Any]) -> pa.Table:
    return table_from_rows([*ROWS, *rows], InstructionRow.SCHEMA)


def with_example(split: str, input: str, output: str, subject: str | None = "another subject") -> InstructionSet:
    """The built set with one more row in table and examples, as a faulty build would create it."""
    parts = {"example_id": "more", "split": split, "instruction": "Plan.", "input": input, "output": output}
    messages = [
        {"role": "system", "content": PROMPT},
        {"role": "user", "content": f"Plan.\n\n{input}"},
        {"role": "assistant", "content": output},
    ]
    row = {**TRAIN, "example_id": "more", "split": split, "subject_key": subject, "messages": messages}
    return replace(
        BUILT, table=with_rows(row), examples=table_from_rows([*BUILT.examples.to_pylist(), parts], ExampleText.SCHEMA)
    )


def test_a_built_set_has_a_valid_certificate() -> None:
    """Auditors read the paragraph."""
    certificate = issue_certificate(BUILT, SEARCH)
    assert certificate.is_valid
    assert "more than one split: 0." in certificate.paragraph
    assert "NOT" not in certificate.paragraph
    assert SEARCH.description in certificate.paragraph
    assert "1 evaluation questions" in certificate.paragraph


@pytest.mark.parametrize(
    ("leak", "field"),
    [
        ({**TRAIN, "messages": [{"role": "user", "content": "other"}], "split": "test"}, "subjects_in_two_splits"),
        ({**TEST, "split": "train", "subject_key": "another subject"}, "inputs_in_two_splits"),
        ({**GENERAL, "messages": [{"role": "user", "content": "other"}], "split": "test"}, "general_outside_train"),
        ({**TRAIN, "subject_key": None}, "rows_without_subject"),
    ],
)
def test_each_kind_of_leak_in_the_table_invalidates_the_certificate(leak: dict[str, Any], field: str) -> None:
    """Every way for test content to get into the training data."""
    found = check_separation(with_rows(leak))
    assert getattr(found, field) == 1
    assert not found.is_clean
    assert not replace(issue_certificate(BUILT, SEARCH), separation=found).is_valid


def _of(split: str) -> dict[str, Any]:
    return next(row for row in BUILT.examples.to_pylist() if row["split"] == split and row["instruction"] == "Plan.")


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("validation", "test"), ("train", "validation")])
def test_near_duplicates_between_splits_invalidate_the_certificate(split: str, other: str) -> None:
    """The certificate searches the finished rows, so that it detects errors of the build."""
    long = " ".join(f"word{number}" for number in range(20))
    clean = with_example(other, long, "Rest well.")
    assert issue_certificate(clean, SEARCH).is_valid
    subjects = {row["split"]: row["subject_key"] for row in ROWS}
    leaking = replace(
        clean,
        table=pa.concat_tables(
            [
                clean.table,
                with_example(split, f"{long} more", "Rest well.", subjects[split]).table.slice(len(ROWS)),
            ]
        ),
        examples=pa.concat_tables(
            [clean.examples, with_example(split, f"{long} more", "Rest well.").examples.slice(len(ROWS))]
        ),
    )
    certificate = issue_certificate(leaking, SEARCH)
    assert certificate.duplicates == {"exact": 0, "near": 2, "semantic": 0}
    assert not certificate.is_valid
    assert "NOT shown" in certificate.paragraph


def test_a_paraphrase_invalidates_the_certificate() -> None:
    """The finder of this test reports exactly one pair."""
    examples = BUILT.examples.to_pylist()
    first, second = sorted(examples.index(_of(split)) for split in ("train", "test"))
    pairs = [TextPair(first, second, "semantic", 0.97)]
    search = replace(SEARCH, find_pairs=lambda _texts, _groups: pairs, find_lexical_pairs=lambda _texts, _groups: [])
    certificate = issue_certificate(BUILT, search)
    assert certificate.duplicates["semantic"] == 2
    assert not certificate.is_valid


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_evaluation_question_in_train_or_validation_invalidates_the_certificate(split: str) -> None:
    """Abilities would be measured on training data or on data that chose the checkpoint."""
    question = EVALUATION[0]
    certificate = issue_certificate(with_example(split, question.input, question.output), SEARCH)
    assert certificate.evaluation_repeats == 2
    assert not certificate.is_valid
    assert issue_certificate(with_example("test", question.input, question.output), SEARCH).is_valid


def test_without_a_semantic_search_the_certificate_is_invalid() -> None:
    """A count of 0 would be an unsupported claim."""
    certificate = issue_certificate(BUILT, replace(SEARCH, kinds=("exact", "near")))
    assert certificate.duplicates == {"exact": 0, "near": 0}
    assert not certificate.is_valid
    assert "semantic 0" not in certificate.paragraph
    assert "NOT searched" in certificate.paragraph
    assert "NOT shown" in certificate.paragraph


def test_without_a_search_the_certificate_is_invalid() -> None:
    certificate = issue_certificate(BUILT, None)
    assert not certificate.is_valid
    assert "NOT searched" in certificate.paragraph
    assert "NOT shown" in certificate.paragraph


def test_without_evaluation_sets_the_certificate_is_invalid() -> None:
    """It could not exclude that their questions are in the training data."""
    assert not issue_certificate(BUILT, replace(SEARCH, evaluation=())).is_valid


def test_rows_that_differ_from_the_compared_parts_invalidate_the_certificate() -> None:
    """Training uses the conversation, so the comparison must cover its content."""
    rows = BUILT.examples.to_pylist()
    rows[0]["output"] = "Something else."
    certificate = issue_certificate(replace(BUILT, examples=table_from_rows(rows, ExampleText.SCHEMA)), SEARCH)
    assert certificate.mismatched_rows == 1
    assert not certificate.is_valid


@pytest.mark.parametrize("missing", ["train", "validation", "test"])
def test_a_set_with_an_empty_split_is_not_clean(missing: str) -> None:
    rows = [row for row in ROWS if row["split"] != missing]
    assert not check_separation(table_from_rows(rows, InstructionRow.SCHEMA)).is_clean


def test_the_certificate_mentions_passages_only_if_there_are_any() -> None:
    """The facts are part of the fingerprint, so sets without passages must keep theirs."""
    plain = issue_certificate(built(), SEARCH)
    assert "passages" not in plain.paragraph
    assert "rows_with_passages" not in plain.facts
    some = replace(plain, rows_with_passages=3)
    assert "3 examples" in some.paragraph
    assert some.facts["rows_with_passages"] == 3
