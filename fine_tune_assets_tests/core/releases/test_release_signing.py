"""Release signatures: valid ones, and every way in which one is invalid."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.prompts.prompt_contract import PromptContract
from fine_tune_assets.core.releases.release_folders import (
    MANIFEST,
    MODEL,
    PROMPT,
    SIGNATURE,
    ReleaseError,
    compute_release_id,
    write_manifest,
)
from fine_tune_assets.core.releases.release_keys import ensure_signing_key, release_key_fingerprint
from fine_tune_assets.core.releases.release_signing import SignedReleases, sign_release

CONTRACT = PromptContract("Be brief.", "t", (), (2,), 2)


def _release(folder: Path, keys: Path, prompt: str = "Be brief.") -> str:
    folder.mkdir()
    contract = PromptContract(prompt, "t", (), (2,), 2)
    (folder / MODEL).write_bytes(b"GGUF weights")
    (folder / PROMPT).write_text(contract.as_json(), encoding="utf-8")
    release_id = write_manifest(folder, {"prompt_fingerprint": contract.fingerprint})
    sign_release(folder, release_id, keys)
    return release_id


@pytest.fixture
def release(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "release", _release(tmp_path / "release", tmp_path / "keys")


def test_a_signed_release_verifies_at_any_path(release: tuple[Path, str], tmp_path: Path) -> None:
    folder, release_id = release
    verifier = SignedReleases(tmp_path / "keys")
    assert verifier.verify(folder, release_id).release_id == release_id
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "under another name")
    assert verifier.verify(moved, release_id).release_id == release_id


def _rewrite_manifest(folder: Path) -> None:
    """Change a file and its hash together."""
    (folder / MODEL).write_bytes(b"GGUF weightz")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    del manifest["files"]
    (folder / MANIFEST).unlink()
    write_manifest(folder, manifest)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "model changed": (lambda f: (f / MODEL).write_bytes(b"GGUF weightz"), r"1 files changed \['model\.gguf'\]"),
    "prompt changed": (lambda f: (f / PROMPT).write_text("{}"), r"1 files changed \['prompt\.json'\]"),
    "manifest changed": (lambda f: (f / MANIFEST).write_text('{"files": {}}'), r"1 files changed \['manifest\.json'\]"),
    "manifest and file changed": (_rewrite_manifest, r"2 files changed \['manifest\.json', 'model\.gguf'\]"),
    "file removed": (lambda f: (f / MODEL).unlink(), r"1 files missing.*model\.gguf"),
    "manifest removed": (lambda f: (f / MANIFEST).unlink(), r"1 files missing.*manifest\.json"),
    "file added": (lambda f: (f / "extra.py").write_text(""), r"1 files unexpected.*extra\.py"),
    "hidden file added": (lambda f: (f / ".gitignore").write_text(""), r"1 files unexpected.*\.gitignore"),
    "verdict's key added": (
        lambda f: ((f / "evidence").mkdir(), (f / "evidence" / "verdicts.pub").write_text("x")),
        r"1 files unexpected.*verdicts\.pub",
    ),
    "link added": (lambda f: (f / "weights").symlink_to("/usr"), "weights is not a regular file"),
    "file made a link": (
        lambda f: ((f / MODEL).rename(f.parent / "m"), (f / MODEL).symlink_to(f.parent / "m")),
        r"model\.gguf is not a regular file",
    ),
    "signature removed": (lambda f: (f / SIGNATURE).unlink(), r"is not signed: it has no release\.sig"),
    "signature emptied": (lambda f: (f / SIGNATURE).write_text(""), "is invalid: it is damaged"),
    "signature no bundle": (lambda f: (f / SIGNATURE).write_text("[]"), "is invalid: it is damaged"),
    "signature no text": (lambda f: (f / SIGNATURE).write_bytes(b"\xff\x00"), "is invalid: it is damaged"),
    "signature nested": (lambda f: (f / SIGNATURE).write_text("[" * 500_000), "is invalid: it is damaged"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_release_does_not_verify(release: tuple[Path, str], tmp_path: Path, change: str) -> None:
    """The error has the reason and the command that repairs it."""
    folder, release_id = release
    do, reason = CHANGES[change]
    do(folder)
    with pytest.raises(ReleaseError, match=f"(?s){reason}.*fine-tune materialize releases"):
        SignedReleases(tmp_path / "keys").verify(folder, release_id)


def test_the_signature_of_another_release_is_invalid(release: tuple[Path, str], tmp_path: Path) -> None:
    """Although both are by the trusted key."""
    folder, release_id = release
    _release(tmp_path / "other", tmp_path / "keys", prompt="Be long.")
    shutil.copy(tmp_path / "other" / SIGNATURE, folder / SIGNATURE)
    with pytest.raises(ReleaseError, match="files changed"):
        SignedReleases(tmp_path / "keys").verify(folder, release_id)


def test_another_release_with_the_same_key_is_refused(tmp_path: Path) -> None:
    """An attacker could replace a release by an older, signed one."""
    first, second = (_release(tmp_path / name, tmp_path / "keys", prompt=name) for name in ("one", "two"))
    assert first != second
    with pytest.raises(ReleaseError, match=f"{second}: its manifest"):
        SignedReleases(tmp_path / "keys").verify(tmp_path / "one", second)


def test_another_key_does_not_verify_even_if_the_signature_hides_it(release: tuple[Path, str], tmp_path: Path) -> None:
    folder, release_id = release
    ensure_signing_key(tmp_path / "ours")
    verifier = SignedReleases(tmp_path / "ours")
    with pytest.raises(ReleaseError, match=f"{release_id} was signed by the key"):
        verifier.verify(folder, release_id)
    bundle = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))
    for hint in (None, release_key_fingerprint(tmp_path / "ours" / "releases.pub")):
        bundle["verificationMaterial"]["publicKey"] = {} if hint is None else {"hint": hint}
        (folder / SIGNATURE).write_text(json.dumps(bundle), encoding="utf-8")
        with pytest.raises(ReleaseError, match=f"signature of release {release_id}"):
            verifier.verify(folder, release_id)


def test_without_a_public_key_nothing_verifies(release: tuple[Path, str], tmp_path: Path) -> None:
    """A gate without its evidence stays closed."""
    folder, release_id = release
    (tmp_path / "keys" / "releases.pub").unlink()
    with pytest.raises(ReleaseError, match=r"releases\.pub"):
        SignedReleases(tmp_path / "keys").verify(folder, release_id)


def test_ignored_paths_in_a_signature_are_not_ignored(release: tuple[Path, str], tmp_path: Path) -> None:
    """Model signing allows a signature to exclude paths. We never exclude any."""
    from model_signing import hashing, signing

    folder, release_id = release
    (folder / SIGNATURE).unlink()
    config = hashing.Config().set_ignored_paths(paths=["extra.py"])
    config.use_file_serialization(ignore_paths=[Path("extra.py")])
    signer = signing.Config().use_elliptic_key_signer(private_key=tmp_path / "keys" / "releases.pem")
    signer.set_hashing_config(config).sign(folder, folder / SIGNATURE)
    verifier = SignedReleases(tmp_path / "keys")
    verifier.verify(folder, release_id)
    (folder / "extra.py").write_text("", encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"extra\.py"):
        verifier.verify(folder, release_id)


def test_a_change_is_detected_after_an_earlier_verification(release: tuple[Path, str], tmp_path: Path) -> None:
    """The supervisor caches hashes. Here size and mtime of the changed file are the same as before."""
    folder, release_id = release
    hour_ago = (folder / MODEL).stat().st_mtime - 3600
    os.utime(folder / MODEL, (hour_ago, hour_ago))
    verifier = SignedReleases(tmp_path / "keys")
    verifier.verify(folder, release_id)
    (folder / MODEL).write_bytes(b"GGUF weightz")
    os.utime(folder / MODEL, (hour_ago, hour_ago))
    with pytest.raises(ReleaseError, match="files changed"):
        verifier.verify(folder, release_id)


def test_openssfs_tool_verifies_a_release(release: tuple[Path, str], tmp_path: Path) -> None:
    """An auditor does not need this package."""
    folder, _ = release
    command = [sys.executable, "-m", "model_signing", "verify", "key", "--signature", str(folder / SIGNATURE)]
    command += ["--public_key", str(tmp_path / "keys" / "releases.pub"), str(folder)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (folder / MODEL).write_bytes(b"GGUF weightz")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_the_private_key_is_private_and_the_pair_is_reused(tmp_path: Path) -> None:
    public = ensure_signing_key(tmp_path / "keys")
    private = tmp_path / "keys" / "releases.pem"
    assert private.stat().st_mode & 0o077 == 0
    before = private.read_bytes(), public.read_bytes()
    assert ensure_signing_key(tmp_path / "keys") == public
    assert (private.read_bytes(), public.read_bytes()) == before


def test_an_invalid_key_pair_is_refused(tmp_path: Path) -> None:
    """Lost, readable by others, of another pair, or not a key. No key is silently replaced."""
    public = ensure_signing_key(tmp_path / "one")
    ensure_signing_key(tmp_path / "two")
    private = tmp_path / "one" / "releases.pem"
    private.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        ensure_signing_key(tmp_path / "one")
    shutil.copy(tmp_path / "two" / "releases.pem", private)
    private.chmod(0o600)
    with pytest.raises(SettingsError, match=r"releases\.pub does not belong to releases\.pem"):
        ensure_signing_key(tmp_path / "one")
    private.write_text("no key", encoding="utf-8")
    with pytest.raises(SettingsError, match="no private key"):
        ensure_signing_key(tmp_path / "one")
    private.unlink()
    with pytest.raises(SettingsError, match=r"releases\.pem is missing"):
        ensure_signing_key(tmp_path / "one")
    assert public.exists()


def test_a_public_key_of_another_type_is_refused(tmp_path: Path) -> None:
    """Such as the verdicts' key in the same folder."""
    from fine_tune_assets.core.keys import sign

    sign(tmp_path, "verdicts", b"x")
    with pytest.raises(SettingsError, match="P-256"):
        release_key_fingerprint(tmp_path / "verdicts.pub")
    with pytest.raises(SettingsError, match=r"absent\.pub"):
        release_key_fingerprint(tmp_path / "absent.pub")


def test_the_id_does_not_depend_on_the_signing_key(release: tuple[Path, str], tmp_path: Path) -> None:
    folder, release_id = release
    sign_release(folder, release_id, tmp_path / "others")
    assert compute_release_id(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))) == release_id
    assert SignedReleases(tmp_path / "others").verify(folder, release_id).release_id == release_id
