"""Signatures of an installation: what holds, and every way in which one does not."""

import subprocess
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import SignatureError, public_key_file, read_public_key, require_signed, sign


def test_a_signature_holds_for_exactly_the_bytes_that_were_signed(tmp_path: Path) -> None:
    content = b'{"decision": "hold"}\n'
    signature = sign(tmp_path, "verdicts", content)
    key = read_public_key(public_key_file(tmp_path, "verdicts"))
    require_signed(key, content, signature, "it")
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        with pytest.raises(SignatureError, match="it does not hold"):
            require_signed(key, changed, signature, "it")


def test_the_private_key_is_for_its_user_only_and_the_pair_stays(tmp_path: Path) -> None:
    """A second pair would make the first one's signatures worthless."""
    first = sign(tmp_path, "verdicts", b"x")
    assert (tmp_path / "verdicts.key").stat().st_mode & 0o077 == 0
    assert sign(tmp_path, "verdicts", b"x") == first


def test_another_installations_signature_does_not_hold(tmp_path: Path) -> None:
    signature = sign(tmp_path / "theirs", "verdicts", b"x")
    sign(tmp_path / "ours", "verdicts", b"x")
    with pytest.raises(SignatureError):
        require_signed(read_public_key(public_key_file(tmp_path / "ours", "verdicts")), b"x", signature, "it")


def test_a_lost_private_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    """Old documents would fail against the new public key, and nobody would know why."""
    sign(tmp_path, "verdicts", b"x")
    (tmp_path / "verdicts.key").unlink()
    with pytest.raises(SettingsError, match=r"verdicts\.key is missing"):
        sign(tmp_path, "verdicts", b"x")


def test_a_private_key_of_another_pair_signs_nothing(tmp_path: Path) -> None:
    sign(tmp_path / "one", "verdicts", b"x")
    sign(tmp_path / "two", "verdicts", b"x")
    (tmp_path / "two" / "verdicts.key").replace(tmp_path / "one" / "verdicts.key")
    with pytest.raises(SettingsError, match="does not belong"):
        sign(tmp_path / "one", "verdicts", b"x")


def test_a_file_that_is_no_public_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.pub").write_text("no key", encoding="utf-8")
    for name in ("no.pub", "absent.pub"):
        with pytest.raises(SettingsError, match=name):
            read_public_key(tmp_path / name)


def test_openssl_proves_a_signature_without_this_package(tmp_path: Path) -> None:
    """An auditor needs nothing of ours."""
    (tmp_path / "content").write_bytes(b"signed")
    (tmp_path / "content.sig").write_bytes(sign(tmp_path, "verdicts", b"signed"))
    asked = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "verdicts.pub", "-rawin", "-in", "content"]
    done = subprocess.run(
        [*asked, "-sigfile", "content.sig"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Verified Successfully" in done.stdout, done.stderr
