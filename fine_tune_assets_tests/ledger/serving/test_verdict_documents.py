"""The signed document of a verdict: verifiable without the ledger, and required in addition to it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.core.keys import SignatureError, public_key_file, sign
from fine_tune_assets.ledger.serving.verdict_documents import (
    DOCUMENT,
    KEY_NAME,
    SIGNATURE,
    VerdictDocumentError,
    require_document,
    verify_document,
    write_document,
)
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict

VERDICT = make_verdict(
    "hold", reasons=("Only 3 examples were graded.",), evidence='{"figures": [], "power": {"needed": 90}}'
)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "verdicts", tmp_path / "keys"


def test_document_contains_the_complete_verdict(places: tuple[Path, Path]) -> None:
    """Decision, reasons and every metric, without the ledger."""
    document = write_document(*places, VERDICT)
    proven = verify_document(document, public_key_file(places[1], KEY_NAME))
    assert proven.verdict == VERDICT
    assert len(proven.key_fingerprint) == 64
    assert json.loads(document.read_text(encoding="utf-8"))["evidence"] == {"figures": [], "power": {"needed": 90}}
    require_document(*places, VERDICT)


def test_every_changed_byte_is_detected(places: tuple[Path, Path]) -> None:
    document = write_document(*places, VERDICT)
    content = document.read_bytes()
    for place in range(0, len(content), 7):
        document.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(SignatureError):
            verify_document(document, public_key_file(places[1], KEY_NAME))


def test_document_signed_again_with_a_wrong_id_is_detected(places: tuple[Path, Path]) -> None:
    """Even if the signer has the key: the id is bound to the content."""
    document = write_document(*places, VERDICT)
    changed = document.read_bytes().replace(b'"hold"', b'"promote"')
    document.write_bytes(changed)
    document.with_name(SIGNATURE).write_bytes(sign(places[1], KEY_NAME, changed))
    with pytest.raises(SignatureError):
        verify_document(document, public_key_file(places[1], KEY_NAME))


def test_signed_file_without_a_verdict_is_refused(places: tuple[Path, Path]) -> None:
    document = write_document(*places, VERDICT)
    for content in (b"{}", b"no json", b"[1]", b'{"evidence": NaN}'):
        document.write_bytes(content)
        document.with_name(SIGNATURE).write_bytes(sign(places[1], KEY_NAME, content))
        with pytest.raises(VerdictDocumentError):
            verify_document(document, public_key_file(places[1], KEY_NAME))


def test_verdict_without_its_document_opens_nothing(places: tuple[Path, Path]) -> None:
    """Write access to the ledger alone must not make a verdict."""
    with pytest.raises(SignatureError, match=VERDICT.verdict_id):
        require_document(*places, VERDICT)
    write_document(*places, VERDICT)
    other = make_verdict("promote")
    (places[0] / VERDICT.verdict_id).rename(places[0] / other.verdict_id)
    with pytest.raises(SignatureError, match=other.verdict_id):
        require_document(*places, other)
    with pytest.raises(SignatureError):
        require_document(*places, replace(other, verdict_id=VERDICT.verdict_id))


def test_damaged_document_is_written_again(places: tuple[Path, Path]) -> None:
    """Recording the same verdict again also rewrites its file."""
    document = write_document(*places, VERDICT)
    document.write_bytes(b"{}")
    write_document(*places, VERDICT)
    require_document(*places, VERDICT)
    assert document.name == DOCUMENT
