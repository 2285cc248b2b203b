"""The signed document of a verdict: proven without the ledger, and needed beside it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.core.keys import SignatureError, public_key_file, sign
from fine_tune_assets.ledger.serving.verdict_documents import (
    DOCUMENT,
    KEY,
    SIGNATURE,
    VerdictDocumentError,
    prove,
    require_document,
    write_document,
)
from fine_tune_assets_tests.ledger.made import make_verdict

VERDICT = make_verdict(
    "hold", reasons=("Only 3 examples were graded.",), evidence='{"figures": [], "power": {"needed": 90}}'
)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "verdicts", tmp_path / "keys"


def test_a_document_is_the_whole_verdict_and_proves_itself(places: tuple[Path, Path]) -> None:
    """Decision, reasons and every figure, with no word from the ledger."""
    document = write_document(*places, VERDICT)
    proven = prove(document, public_key_file(places[1], KEY))
    assert proven.verdict == VERDICT
    assert len(proven.key_fingerprint) == 64
    assert json.loads(document.read_text(encoding="utf-8"))["evidence"] == {"figures": [], "power": {"needed": 90}}
    require_document(*places, VERDICT)


def test_every_changed_byte_is_noticed(places: tuple[Path, Path]) -> None:
    document = write_document(*places, VERDICT)
    whole = document.read_bytes()
    for place in range(0, len(whole), 7):
        document.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SignatureError):
            prove(document, public_key_file(places[1], KEY))


def test_a_document_that_was_signed_again_with_another_id_than_its_own_is_noticed(places: tuple[Path, Path]) -> None:
    """Also by whoever has the key: the id stands for what it says."""
    document = write_document(*places, VERDICT)
    changed = document.read_bytes().replace(b'"hold"', b'"promote"')
    document.write_bytes(changed)
    document.with_name(SIGNATURE).write_bytes(sign(places[1], KEY, changed))
    with pytest.raises(SignatureError, match="its own fingerprint"):
        prove(document, public_key_file(places[1], KEY))


def test_a_signed_file_that_is_no_verdict_proves_nothing(places: tuple[Path, Path]) -> None:
    document = write_document(*places, VERDICT)
    for content in (b"{}", b"no json", b"[1]", b'{"evidence": NaN}'):
        document.write_bytes(content)
        document.with_name(SIGNATURE).write_bytes(sign(places[1], KEY, content))
        with pytest.raises(VerdictDocumentError, match="not the document of a verdict"):
            prove(document, public_key_file(places[1], KEY))


def test_a_verdict_without_its_document_opens_nothing(places: tuple[Path, Path]) -> None:
    """Who can write to the ledger's database alone makes no verdict."""
    with pytest.raises(SignatureError, match="is not proven"):
        require_document(*places, VERDICT)
    write_document(*places, VERDICT)
    other = make_verdict("promote")
    (places[0] / VERDICT.verdict_id).rename(places[0] / other.verdict_id)
    with pytest.raises(SignatureError, match="not what was signed"):
        require_document(*places, other)
    with pytest.raises(SignatureError):
        require_document(*places, replace(other, verdict_id=VERDICT.verdict_id))


def test_a_damaged_document_is_written_again(places: tuple[Path, Path]) -> None:
    """The verdict is made again with the same id, and its file with it."""
    document = write_document(*places, VERDICT)
    document.write_bytes(b"{}")
    write_document(*places, VERDICT)
    require_document(*places, VERDICT)
    assert document.name == DOCUMENT
