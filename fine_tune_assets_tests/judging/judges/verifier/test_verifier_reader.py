"""The trained verifier: its readings depend on the claim alone, and its files hold what training changed."""

from pathlib import Path

import numpy as np
import pytest

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.judging.judges.statement_readers import Claim
from fine_tune_assets.judging.judges.verifier.verifier_files import pack_weights, unpack_weights
from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier

RECORD = (
    "Doctor: Any fever?\nPatient: No.\nDoctor: What do you take?\nPatient: Lisinopril, twenty milligrams once a day.\n"
    "Patient: My left knee hurts since Monday."
)
RIGHT = ["Denies fever.", "Takes lisinopril 20 mg daily.", "Left knee pain since Monday."]
WRONG = ["Reports fever.", "Takes lisinopril 40 mg daily.", "Right knee pain since Monday."]


def test_right_statements_are_more_probable_than_wrong_ones() -> None:
    readings = open_verifier("", 1).read([Claim(RECORD, one) for one in (*RIGHT, *WRONG)], ignore_progress)
    right, wrong = readings[: len(RIGHT)], readings[len(RIGHT) :]
    assert min(one.supported for one in right) > max(one.supported for one in wrong)
    assert all(abs(one.supported + one.contradicted + one.not_mentioned - 1) < 1e-5 for one in readings)


def test_without_the_record_a_verifier_can_not_tell() -> None:
    """Otherwise it would judge the look of a statement."""
    readings = open_verifier("", 1).read([Claim("Hello", one) for one in (*RIGHT, *WRONG)], ignore_progress)
    assert max(one.supported for one in readings) < 0.5


def test_a_reading_depends_on_its_claim_alone() -> None:
    """Neither the batch nor the number of threads changes a grade."""
    claims = [Claim(RECORD, one) for one in (*RIGHT, *WRONG)]
    together = open_verifier("", 2).read(claims, ignore_progress)
    alone = [open_verifier("", 1).read([claim], ignore_progress)[0] for claim in claims]
    assert together == alone


def test_the_evidence_is_the_line_as_written_with_the_answer_to_a_question() -> None:
    fever, dose, _ = open_verifier("", 1).read([Claim(RECORD, one) for one in RIGHT], ignore_progress)
    assert fever.evidence == "Doctor: Any fever?\nPatient: No."
    assert dose.evidence == "Patient: Lisinopril, twenty milligrams once a day."


@pytest.mark.parametrize("record", ["", " \n "])
def test_an_empty_record_supports_nothing(record: str) -> None:
    (reading,) = open_verifier("", 1).read([Claim(record, "Left knee pain.")], ignore_progress)
    assert (reading.supported, reading.not_mentioned, reading.evidence) == (0.0, 1.0, "")


def test_the_end_of_a_long_statement_is_read() -> None:
    """A false clause must not hide behind many true ones."""
    true = " ".join(["left knee pain since Monday and no fever and lisinopril 20 mg once a day and"] * 4)
    false = "his mother died of breast cancer in Boston at the age of fifty after a long stay in two hospitals"
    right, wrong = open_verifier("", 1).read([Claim(RECORD, true), Claim(RECORD, f"{true} {false}")], ignore_progress)
    assert wrong.supported < right.supported


def test_a_folder_without_a_verifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="verifier train"):
        open_verifier(str(tmp_path), 1)


def test_packed_weights_are_the_weights_up_to_rounding() -> None:
    matrix = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    weights = {"encoder.layer.0.w": matrix, "word_head.weight": matrix[:1], "embeddings.word_embeddings.weight": matrix}
    packed = pack_weights(weights)
    assert packed["encoder.layer.0.w"].dtype == np.int8
    assert "embeddings.word_embeddings.weight" not in packed
    unpacked = unpack_weights(packed, matrix)
    assert unpacked.keys() == weights.keys()
    assert np.abs(unpacked["encoder.layer.0.w"] - matrix).max() <= np.abs(matrix).max() / 127
