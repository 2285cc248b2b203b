"""Ed25519 signatures of an installation: valid ones, and every way in which one is invalid."""

import subprocess
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import SignatureError, public_key_file, read_public_key, sign, verify_signature


def test_a_signature_is_valid_only_for_the_signed_bytes(tmp_path: Path) -> None:
    content = b'{"decision": "hold"}\n'
    signature = sign(tmp_path, "verdicts", content)
    key = read_public_key(public_key_file(tmp_path, "verdicts"))
    verify_signature(key, content, signature, "it")
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        with pytest.raises(SignatureError):
            verify_signature(key, changed, signature, "it")


def test_the_private_key_is_private_and_the_pair_is_reused(tmp_path: Path) -> None:
    """A second pair would invalidate the first one's signatures."""
    first = sign(tmp_path, "verdicts", b"x")
    assert (tmp_path / "verdicts.key").stat().st_mode & 0o077 == 0
    assert sign(tmp_path, "verdicts", b"x") == first


def test_the_signature_of_another_installation_is_invalid(tmp_path: Path) -> None:
    signature = sign(tmp_path / "theirs", "verdicts", b"x")
    sign(tmp_path / "ours", "verdicts", b"x")
    with pytest.raises(SignatureError):
        verify_signature(read_public_key(public_key_file(tmp_path / "ours", "verdicts")), b"x", signature, "it")


def test_a_lost_private_key_is_not_silently_replaced(tmp_path: Path) -> None:
    """Old documents would fail to verify with the new public key."""
    sign(tmp_path, "verdicts", b"x")
    (tmp_path / "verdicts.key").unlink()
    with pytest.raises(SettingsError, match=r"verdicts\.key is missing"):
        sign(tmp_path, "verdicts", b"x")


def test_a_private_key_of_another_pair_is_refused(tmp_path: Path) -> None:
    sign(tmp_path / "one", "verdicts", b"x")
    sign(tmp_path / "two", "verdicts", b"x")
    (tmp_path / "two" / "verdicts.key").replace(tmp_path / "one" / "verdicts.key")
    with pytest.raises(SettingsError, match=r"verdicts\.pub does not belong to verdicts\.key"):
        sign(tmp_path / "one", "verdicts", b"x")


def test_an_invalid_public_key_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.pub").write_text("no key", encoding="utf-8")
    for name in ("no.pub", "absent.pub"):
        with pytest.raises(SettingsError, match=name):
            read_public_key(tmp_path / name)


def test_openssl_verifies_a_signature_without_this_package(tmp_path: Path) -> None:
    """An auditor does not need this package."""
    (tmp_path / "content").write_bytes(b"signed")
    (tmp_path / "content.sig").write_bytes(sign(tmp_path, "verdicts", b"signed"))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "verdicts.pub", "-rawin", "-in", "content"]
    done = subprocess.run(
        [*command, "-sigfile", "content.sig"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Verified Successfully" in done.stdout, done.stderr
