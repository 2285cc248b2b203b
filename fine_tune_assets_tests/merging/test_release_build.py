"""A release folder is named by its content, signed, and repaired by what its error advises."""

from pathlib import Path

import pytest

from fine_tune_assets.core.releases.release_folders import MODEL, PROMPT, ReleaseError
from fine_tune_assets.core.releases.release_signing import SignedReleases
from fine_tune_assets.merging.release_build import build_release
from fine_tune_assets_tests.merging.released import release_parts, whole_release


@pytest.mark.parametrize("name", [MODEL, PROMPT, "release.sig"])
def test_building_a_damaged_release_again_repairs_it(tmp_path: Path, name: str) -> None:
    """Otherwise it could be served never again: the same content always has the same folder."""
    first, verifier = whole_release(tmp_path), SignedReleases(tmp_path / "keys")
    (first.folder / name).unlink()
    (first.folder / name).write_bytes(b"damaged")
    with pytest.raises(ReleaseError, match="fine-tune materialize releases"):
        verifier.verify(first.folder, first.release_id)
    assert whole_release(tmp_path).release_id == first.release_id
    verifier.verify(first.folder, first.release_id)


def test_the_same_content_is_the_same_release_and_its_folder_stays(tmp_path: Path) -> None:
    """An engine may have it open. A new signature would be other bytes: none is made."""
    first = whole_release(tmp_path)
    before = {path: path.stat().st_ino for path in first.folder.rglob("*")}
    assert whole_release(tmp_path).release_id == first.release_id
    assert {path: path.stat().st_ino for path in first.folder.rglob("*")} == before
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [first.release_id]


def test_two_installations_give_the_same_content_the_same_id(tmp_path: Path) -> None:
    """Signatures and public keys are no part of it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = whole_release(tmp_path / "one"), whole_release(tmp_path / "two")
    assert one.release_id == two.release_id
    with pytest.raises(ReleaseError, match="signed by another key"):
        SignedReleases(tmp_path / "one" / "keys").verify(two.folder, two.release_id)


def test_merged_weights_are_taken_over_as_a_folder_without_a_second_copy(tmp_path: Path) -> None:
    """What vLLM serves; a symbolic link is taken over as what it stands for."""
    merged = tmp_path / "merged"
    (merged / "inside").mkdir(parents=True)
    (merged / "inside" / "model.safetensors").write_bytes(b"tensors")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    (merged / "tokenizer.json").symlink_to(tmp_path / "tokenizer.json")
    built = whole_release(tmp_path, model=merged, facts={"engine": "vllm"})
    assert built.model == built.folder / "weights"
    taken = built.model / "inside" / "model.safetensors"
    assert taken.stat().st_ino == (merged / "inside" / "model.safetensors").stat().st_ino
    assert not (built.model / "tokenizer.json").is_symlink()
    assert built.model_fingerprint == built.manifest["served_fingerprint"]


def _bytes_read() -> int:
    """What this process has read from files, counted by the kernel."""
    return int(Path("/proc/self/io").read_text(encoding="utf-8").splitlines()[0].split()[1])


def test_weights_are_read_once_also_where_the_release_is_there_already(tmp_path: Path) -> None:
    """They may be 140 GB: to name them, to look whether it is there, and to verify it are one reading."""
    model = tmp_path / "large.gguf"
    model.write_bytes(b"x" * 20_000_000)
    parts, keys = release_parts(tmp_path, model=model), tmp_path / "keys"
    for _ in ("made", "kept"):
        before = _bytes_read()
        build_release(tmp_path / "releases", parts, keys)
        assert 20_000_000 <= _bytes_read() - before < 35_000_000


def test_a_release_that_can_not_be_signed_is_not_there(tmp_path: Path) -> None:
    """Nothing unsigned is left that somebody might serve."""
    from fine_tune_assets.core.errors import SettingsError

    parts = release_parts(tmp_path)
    (tmp_path / "keys" / "releases.pub").write_text("of a pair whose private half is lost", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"releases\.pem is missing"):
        build_release(tmp_path / "releases", parts, tmp_path / "keys")
    assert not (tmp_path / "releases").exists()
