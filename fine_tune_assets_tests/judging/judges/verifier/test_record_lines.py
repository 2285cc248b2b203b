"""The verifier's quotes are found in the record again, so that pages can highlight them."""

import pytest

from fine_tune_assets.embeddings.encoder import load_tokenizer
from fine_tune_assets.judging.judges.statement_readers import Claim
from fine_tune_assets.judging.judges.verifier.pair_encoding import PairEncoder
from fine_tune_assets.judging.judges.verifier.record_lines import locate_quote, split_record

LONG = (
    "He takes twenty M G of lisinopril q.d. in the morning, with water and with food. The left knee has been swollen "
    "since March, and it hurts on the stairs.  No fever."
)
RECORD = f"  History\n\n{LONG}\nDoctor: Any cough?\nPatient: No, none at all."


def test_short_lines_are_quoted_as_written_and_placed() -> None:
    lines = split_record("  No fever. \n\nTakes twenty M G.")
    assert [line.written for line in lines] == ["No fever.", "Takes twenty M G."]
    assert [(line.start, line.end) for line in lines] == [(2, 11), (14, 31)]


@pytest.mark.parametrize(
    ("statement", "source"),
    [
        ("The left knee is swollen.", "The left knee has been swollen since March, and it hurts on the stairs."),
        ("There is no cough.", "Doctor: Any cough?\nPatient: No, none at all."),
        (
            "He takes lisinopril in the morning.",
            "He takes twenty M G of lisinopril q.d. in the morning, with water and with food.",
        ),
    ],
)
def test_the_quote_of_an_encoded_claim_is_found(statement: str, source: str) -> None:
    """A part of a long line is quoted in normalized form, but placed as written."""
    encoded = PairEncoder(load_tokenizer()).encode_claim(Claim(RECORD, statement))
    place = locate_quote(RECORD, encoded.evidence)
    assert place is not None
    assert source in RECORD[slice(*place)]


def test_a_quote_of_another_record_has_no_place() -> None:
    assert locate_quote(RECORD, "") is None
    assert locate_quote(RECORD, "Takes aspirin.") is None
    assert locate_quote("", "Takes aspirin.") is None
