"""A release folder is named by its content, signed, and repaired by the command in its error."""

import stat
from pathlib import Path

import pytest

from fine_tune_assets.core.releases.release_folders import MODEL, PROMPT, ReleaseError
from fine_tune_assets.core.releases.release_signing import SignedReleases
from fine_tune_assets.merging.release_build import build_release
from fine_tune_assets_tests.merging.whole_release import release_parts, whole_release


@pytest.mark.parametrize("name", [MODEL, PROMPT, "release.sig"])
def test_building_a_damaged_release_again_repairs_it(tmp_path: Path, name: str) -> None:
    """The same content always has the same folder, so otherwise it could never be served again."""
    first, verifier = whole_release(tmp_path), SignedReleases(tmp_path / "keys")
    (first.folder / name).unlink()
    (first.folder / name).write_bytes(b"damaged")
    with pytest.raises(ReleaseError, match="fine-tune materialize releases"):
        verifier.verify(first.folder, first.release_id)
    assert whole_release(tmp_path).release_id == first.release_id
    verifier.verify(first.folder, first.release_id)


def test_rebuilding_the_same_content_keeps_the_folder(tmp_path: Path) -> None:
    """An engine may have it open, and a new signature would change bytes."""
    first = whole_release(tmp_path)
    before = {path: path.stat().st_ino for path in first.folder.rglob("*")}
    assert whole_release(tmp_path).release_id == first.release_id
    assert {path: path.stat().st_ino for path in first.folder.rglob("*")} == before
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [first.release_id]


def test_two_installations_give_the_same_content_the_same_id(tmp_path: Path) -> None:
    """Signatures and public keys are not part of the id."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = whole_release(tmp_path / "one"), whole_release(tmp_path / "two")
    assert one.release_id == two.release_id
    with pytest.raises(ReleaseError, match=rf"{two.release_id} .* \w{{16}}, .* \w{{16}} "):
        SignedReleases(tmp_path / "one" / "keys").verify(two.folder, two.release_id)


def test_merged_weights_are_copied_as_a_folder_of_plain_files(tmp_path: Path) -> None:
    """vLLM serves a folder. A link would let whoever can write the merged weights change the release."""
    merged = tmp_path / "merged"
    (merged / "inside").mkdir(parents=True)
    (merged / "inside" / "model.safetensors").write_bytes(b"tensors")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    (merged / "tokenizer.json").symlink_to(tmp_path / "tokenizer.json")
    built = whole_release(tmp_path, model=merged, facts={"engine": "vllm"})
    assert built.model == built.folder / "weights"
    taken = built.model / "inside" / "model.safetensors"
    assert taken.stat().st_ino != (merged / "inside" / "model.safetensors").stat().st_ino
    (merged / "inside" / "model.safetensors").write_bytes(b"changed")
    assert taken.read_bytes() == b"tensors"
    assert not (built.model / "tokenizer.json").is_symlink()
    assert built.model_fingerprint == built.manifest["served_fingerprint"]


def _bytes_read() -> int:
    """Bytes that this process has read from files, counted by the kernel."""
    return int(Path("/proc/self/io").read_text(encoding="utf-8").splitlines()[0].split()[1])


def test_a_release_is_read_only(tmp_path: Path) -> None:
    """Nothing writes to it by accident; on purpose, its owner must first change the mode."""
    built = whole_release(tmp_path)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (built.folder, *built.folder.rglob("*"))}
    assert modes == {0o400, 0o500}


@pytest.mark.parametrize("is_folder", [False, True])
def test_weights_that_changed_after_they_were_measured_are_not_signed(tmp_path: Path, is_folder: bool) -> None:
    """A swapped export was once signed and could be served, though the check after it was red."""
    model = tmp_path / "weights"
    if is_folder:
        model.mkdir()
    changed = model / "model.safetensors" if is_folder else model
    changed.write_bytes(b"measured")
    parts = release_parts(tmp_path, model=model)
    changed.write_bytes(b"swapped!")
    with pytest.raises(ReleaseError, match="not those that were measured"):
        build_release(tmp_path / "releases", parts, tmp_path / "keys")
    assert list((tmp_path / "releases").iterdir()) == []


def test_weights_are_read_once_and_those_of_an_existing_release_too(tmp_path: Path) -> None:
    """They may be 140 GB: copying, naming, comparing and verifying must share one read."""
    model = tmp_path / "large.gguf"
    model.write_bytes(b"x" * 20_000_000)
    parts, keys = release_parts(tmp_path, model=model), tmp_path / "keys"
    for most in (35_000_000, 55_000_000):
        before = _bytes_read()
        build_release(tmp_path / "releases", parts, keys)
        assert 20_000_000 <= _bytes_read() - before < most


def test_a_release_that_cannot_be_signed_is_not_created(tmp_path: Path) -> None:
    """Nothing unsigned may remain that could be served."""
    from fine_tune_assets.core.errors import SettingsError

    parts = release_parts(tmp_path)
    (tmp_path / "keys" / "releases.pub").write_text("of a pair whose private half is lost", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"releases\.pem is missing"):
        build_release(tmp_path / "releases", parts, tmp_path / "keys")
    assert not (tmp_path / "releases").exists()
