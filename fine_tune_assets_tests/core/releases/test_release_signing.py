"""The signature on a release: what holds, and every way in which one does not."""

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
    release_id_of,
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


def test_what_was_signed_verifies_wherever_the_folder_lies(release: tuple[Path, str], tmp_path: Path) -> None:
    folder, release_id = release
    verifier = SignedReleases(tmp_path / "keys")
    assert verifier.verify(folder, release_id).release_id == release_id
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "under another name")
    assert verifier.verify(moved, release_id).release_id == release_id


def _rewrite_manifest(folder: Path) -> None:
    """A forger changes a file and its hash together."""
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
    "link added": (lambda f: (f / "weights").symlink_to("/usr"), "weights is a link"),
    "file made a link": (
        lambda f: ((f / MODEL).rename(f.parent / "m"), (f / MODEL).symlink_to(f.parent / "m")),
        r"model\.gguf is a link",
    ),
    "signature removed": (lambda f: (f / SIGNATURE).unlink(), r"is not signed: it has no release\.sig"),
    "signature emptied": (lambda f: (f / SIGNATURE).write_text(""), "does not hold: it is broken"),
    "signature no bundle": (lambda f: (f / SIGNATURE).write_text("[]"), "does not hold: it is broken"),
    "signature no text": (lambda f: (f / SIGNATURE).write_bytes(b"\xff\x00"), "does not hold: it is broken"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_was_changed_no_longer_verifies(release: tuple[Path, str], tmp_path: Path, change: str) -> None:
    """Each with the reason, and the advice what to do."""
    folder, release_id = release
    do, reason = CHANGES[change]
    do(folder)
    with pytest.raises(ReleaseError, match=f"(?s){reason}.*fine-tune materialize releases"):
        SignedReleases(tmp_path / "keys").verify(folder, release_id)


def test_another_releases_signature_does_not_hold(release: tuple[Path, str], tmp_path: Path) -> None:
    """Both are by the right key."""
    folder, release_id = release
    _release(tmp_path / "other", tmp_path / "keys", prompt="Be long.")
    shutil.copy(tmp_path / "other" / SIGNATURE, folder / SIGNATURE)
    with pytest.raises(ReleaseError, match="files changed"):
        SignedReleases(tmp_path / "keys").verify(folder, release_id)


def test_another_release_of_the_same_key_is_not_the_one_that_is_wanted(tmp_path: Path) -> None:
    """Somebody puts an older, signed release into the folder of a newer one."""
    first, second = (_release(tmp_path / name, tmp_path / "keys", prompt=name) for name in ("one", "two"))
    assert first != second
    with pytest.raises(ReleaseError, match=f"Release {second}: its manifest was changed"):
        SignedReleases(tmp_path / "keys").verify(tmp_path / "one", second)


def test_another_key_does_not_verify_also_when_the_signature_hides_whose_it_is(
    release: tuple[Path, str], tmp_path: Path
) -> None:
    folder, release_id = release
    ensure_signing_key(tmp_path / "ours")
    verifier = SignedReleases(tmp_path / "ours")
    with pytest.raises(ReleaseError, match="was signed by another key"):
        verifier.verify(folder, release_id)
    bundle = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))
    for hint in (None, release_key_fingerprint(tmp_path / "ours" / "releases.pub")):
        bundle["verificationMaterial"]["publicKey"] = {} if hint is None else {"hint": hint}
        (folder / SIGNATURE).write_text(json.dumps(bundle), encoding="utf-8")
        with pytest.raises(ReleaseError, match="does not hold"):
            verifier.verify(folder, release_id)


def test_without_a_public_key_nothing_verifies(release: tuple[Path, str], tmp_path: Path) -> None:
    """A gate without its evidence stays closed."""
    folder, release_id = release
    (tmp_path / "keys" / "releases.pub").unlink()
    with pytest.raises(ReleaseError, match=r"can't be verified\. There is no public key"):
        SignedReleases(tmp_path / "keys").verify(folder, release_id)


def test_a_signed_word_to_ignore_files_is_not_followed(release: tuple[Path, str], tmp_path: Path) -> None:
    """Model signing lets a signature name paths that are left out. Ours names none, and none are left out."""
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


def test_a_change_is_seen_by_who_has_verified_before(release: tuple[Path, str], tmp_path: Path) -> None:
    """The supervisor reads a file again only if it may have changed: here its size and its time are what they were."""
    folder, release_id = release
    hour_ago = (folder / MODEL).stat().st_mtime - 3600
    os.utime(folder / MODEL, (hour_ago, hour_ago))
    verifier = SignedReleases(tmp_path / "keys")
    verifier.verify(folder, release_id)
    (folder / MODEL).write_bytes(b"GGUF weightz")
    os.utime(folder / MODEL, (hour_ago, hour_ago))
    with pytest.raises(ReleaseError, match="files changed"):
        verifier.verify(folder, release_id)


def test_the_openssfs_own_tool_verifies_it(release: tuple[Path, str], tmp_path: Path) -> None:
    """An auditor needs nothing of ours."""
    folder, _ = release
    asked = [sys.executable, "-m", "model_signing", "verify", "key", "--signature", str(folder / SIGNATURE)]
    asked += ["--public_key", str(tmp_path / "keys" / "releases.pub"), str(folder)]
    assert subprocess.run(asked, capture_output=True, check=False).returncode == 0
    (folder / MODEL).write_bytes(b"GGUF weightz")
    assert subprocess.run(asked, capture_output=True, check=False).returncode != 0


def test_the_private_key_is_for_its_user_only_and_the_pair_stays(tmp_path: Path) -> None:
    public = ensure_signing_key(tmp_path / "keys")
    private = tmp_path / "keys" / "releases.pem"
    assert private.stat().st_mode & 0o077 == 0
    before = private.read_bytes(), public.read_bytes()
    assert ensure_signing_key(tmp_path / "keys") == public
    assert (private.read_bytes(), public.read_bytes()) == before


def test_a_pair_that_is_not_sound_signs_nothing(tmp_path: Path) -> None:
    """Lost, readable by others, of another pair, or no key at all: each is said, and none is replaced in silence."""
    public = ensure_signing_key(tmp_path / "one")
    ensure_signing_key(tmp_path / "two")
    private = tmp_path / "one" / "releases.pem"
    private.chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by other users"):
        ensure_signing_key(tmp_path / "one")
    shutil.copy(tmp_path / "two" / "releases.pem", private)
    private.chmod(0o600)
    with pytest.raises(SettingsError, match="does not belong"):
        ensure_signing_key(tmp_path / "one")
    private.write_text("no key", encoding="utf-8")
    with pytest.raises(SettingsError, match="no private key"):
        ensure_signing_key(tmp_path / "one")
    private.unlink()
    with pytest.raises(SettingsError, match=r"releases\.pem is missing"):
        ensure_signing_key(tmp_path / "one")
    assert public.exists()


def test_a_public_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Such as that of verdicts, which lies beside it."""
    from fine_tune_assets.core.keys import sign

    sign(tmp_path, "verdicts", b"x")
    with pytest.raises(SettingsError, match="not one that releases are signed with"):
        release_key_fingerprint(tmp_path / "verdicts.pub")
    with pytest.raises(SettingsError, match="no public key"):
        release_key_fingerprint(tmp_path / "absent.pub")


def test_the_id_is_not_changed_by_who_signs(release: tuple[Path, str], tmp_path: Path) -> None:
    folder, release_id = release
    sign_release(folder, release_id, tmp_path / "others")
    assert release_id_of(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))) == release_id
    assert SignedReleases(tmp_path / "others").verify(folder, release_id).release_id == release_id
