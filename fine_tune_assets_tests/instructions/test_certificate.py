"""The leakage certificate fails for each kind of leak, and says how it was looked for."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.records import TextPair
from fine_tune_assets.instructions.assembly import InstructionSet
from fine_tune_assets.instructions.certificate import leakage_certificate, separation
from fine_tune_assets.instructions.set_examples import ExampleText
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.records import table_of
from fine_tune_assets_tests.instructions.examples import EVALUATION, PROMPT, SEARCH, built

BUILT = built()
ROWS = BUILT.table.to_pylist()
TRAIN = next(row for row in ROWS if row["split"] == "train" and not row["is_general"])
TEST = next(row for row in ROWS if row["split"] == "test")
GENERAL = next(row for row in ROWS if row["is_general"])


def with_rows(*rows: dict[str, Any]) -> pa.Table:
    return table_of([*ROWS, *rows], InstructionRow.SCHEMA)


def with_example(split: str, input: str, output: str, patient: str | None = "somebody else") -> InstructionSet:
    """The built set with one row more, in table and examples alike, as a faulty building would leave it."""
    parts = {"example_id": "more", "split": split, "instruction": "Plan.", "input": input, "output": output}
    messages = [
        {"role": "system", "content": PROMPT},
        {"role": "user", "content": f"Plan.\n\n{input}"},
        {"role": "assistant", "content": output},
    ]
    row = {**TRAIN, "example_id": "more", "split": split, "patient_key": patient, "messages": messages}
    return replace(
        BUILT, table=with_rows(row), examples=table_of([*BUILT.examples.to_pylist(), parts], ExampleText.SCHEMA)
    )


def test_a_built_set_holds_and_says_so_in_words() -> None:
    """The paragraph goes to an auditor as it is."""
    certificate = leakage_certificate(BUILT, SEARCH)
    assert certificate.holds
    assert "Patients with examples in more than one split: 0." in certificate.paragraph
    assert "no patient of one, was used to train it" in certificate.paragraph
    assert SEARCH.described in certificate.paragraph
    assert "one of 1 evaluation questions" in certificate.paragraph


@pytest.mark.parametrize(
    ("leak", "field"),
    [
        ({**TRAIN, "messages": [{"role": "user", "content": "other"}], "split": "test"}, "patients_in_two_splits"),
        ({**TEST, "split": "train", "patient_key": "somebody else"}, "inputs_in_two_splits"),
        ({**GENERAL, "messages": [{"role": "user", "content": "other"}], "split": "test"}, "general_outside_train"),
        ({**TRAIN, "patient_key": None}, "rows_without_patient"),
    ],
)
def test_each_kind_of_leak_in_the_table_breaks_the_certificate(leak: dict[str, Any], field: str) -> None:
    """Every way in which the test could be taught."""
    found = separation(with_rows(leak))
    assert getattr(found, field) == 1
    assert not found.holds
    assert not replace(leakage_certificate(BUILT, SEARCH), separation=found).holds


def _of(split: str) -> dict[str, Any]:
    return next(row for row in BUILT.examples.to_pylist() if row["split"] == split and row["instruction"] == "Plan.")


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("validation", "test"), ("train", "validation")])
def test_nearly_the_same_in_two_splits_breaks_the_certificate(split: str, other: str) -> None:
    """Also if the building overlooked it: the certificate looks for itself, at the finished rows."""
    long = " ".join(f"word{number}" for number in range(20))
    whole = with_example(other, long, "Rest well.")
    assert leakage_certificate(whole, SEARCH).holds
    patients = {row["split"]: row["patient_key"] for row in ROWS}
    leaking = replace(
        whole,
        table=pa.concat_tables(
            [
                whole.table,
                with_example(split, f"{long} more", "Rest well.", patients[split]).table.slice(len(ROWS)),
            ]
        ),
        examples=pa.concat_tables(
            [whole.examples, with_example(split, f"{long} more", "Rest well.").examples.slice(len(ROWS))]
        ),
    )
    certificate = leakage_certificate(leaking, SEARCH)
    assert certificate.duplicates == {"exact": 0, "near": 2, "semantic": 0}
    assert not certificate.holds
    assert "NOT shown" in certificate.paragraph


def test_a_pair_of_like_meaning_breaks_the_certificate() -> None:
    """A paraphrase is found by whoever can find one; here a finder that calls exactly two rows alike."""
    examples = BUILT.examples.to_pylist()
    first, second = sorted(examples.index(_of(split)) for split in ("train", "test"))
    alike = [TextPair(first, second, "semantic", 0.97)]
    search = replace(SEARCH, find_pairs=lambda _texts, _groups: alike, find_words=lambda _texts, _groups: [])
    certificate = leakage_certificate(BUILT, search)
    assert certificate.duplicates["semantic"] == 2
    assert not certificate.holds


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_evaluation_question_in_train_or_validation_breaks_the_certificate(split: str) -> None:
    """Abilities would be measured on what was taught, or on what chose the checkpoint."""
    question = EVALUATION[0]
    certificate = leakage_certificate(with_example(split, question.input, question.output), SEARCH)
    assert certificate.evaluation_repeated == 2
    assert not certificate.holds
    assert leakage_certificate(with_example("test", question.input, question.output), SEARCH).holds


def test_without_the_semantic_comparison_the_certificate_does_not_hold_and_says_why() -> None:
    """Nobody looked for paraphrases: a 0 would be a claim."""
    certificate = leakage_certificate(BUILT, replace(SEARCH, kinds=("exact", "near")))
    assert certificate.duplicates == {"exact": 0, "near": 0}
    assert not certificate.holds
    assert "semantic 0" not in certificate.paragraph
    assert "in other words were NOT looked for" in certificate.paragraph
    assert "NOT shown" in certificate.paragraph


def test_without_a_search_nothing_is_certified() -> None:
    """Not a weaker certificate: none."""
    certificate = leakage_certificate(BUILT, None)
    assert not certificate.holds
    assert "Nobody looked" in certificate.paragraph
    assert "NOT shown" in certificate.paragraph


def test_without_evaluation_sets_nothing_is_certified() -> None:
    """Nobody could say that none of their questions is trained on."""
    assert not leakage_certificate(BUILT, replace(SEARCH, evaluation=())).holds


def test_rows_that_say_something_else_than_what_was_compared_break_the_certificate() -> None:
    """What is trained on is the conversation, so that is what must have been compared."""
    rows = BUILT.examples.to_pylist()
    rows[0]["output"] = "Something else."
    certificate = leakage_certificate(replace(BUILT, examples=table_of(rows, ExampleText.SCHEMA)), SEARCH)
    assert certificate.rows_told_otherwise == 1
    assert not certificate.holds


@pytest.mark.parametrize("missing", ["train", "validation", "test"])
def test_a_set_without_a_split_is_not_certified(missing: str) -> None:
    """Nothing is shown about what is not there."""
    rows = [row for row in ROWS if row["split"] != missing]
    assert not separation(table_of(rows, InstructionRow.SCHEMA)).holds


def test_a_set_with_passages_says_that_they_were_not_compared_and_one_without_says_nothing_of_them() -> None:
    """An auditor must read it; and a set of before there were passages keeps its name, which hangs on these figures."""
    plain = leakage_certificate(built(), SEARCH)
    assert "passages" not in plain.paragraph
    assert "rows_with_passages" not in plain.figures
    some = replace(plain, rows_with_passages=3)
    assert "3 examples were compared without the passages of documents before their question." in some.paragraph
    assert some.figures["rows_with_passages"] == 3
