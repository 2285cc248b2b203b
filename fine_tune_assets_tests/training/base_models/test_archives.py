"""An archive unpacks plain model files below one folder, or nothing."""

import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.training.base_models.model_imports import is_archive, unpack_archive

OUTSIDE = ["../evil", "/evil", "a/../../evil", "a\\..\\evil", "C:evil"]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "below" / "unpacked").mkdir(parents=True)
    return tmp_path / "below" / "unpacked"


def zipped(path: Path, *entries: tuple[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def tarred(path: Path, *entries: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for entry in entries:
            entry.size = len(content) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def files_beside(target: Path) -> list[str]:
    root = target.parent.parent
    return sorted(
        p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.suffix not in (".zip", ".tgz")
    )


def test_a_single_top_level_folder_is_the_model(target: Path, tmp_path: Path) -> None:
    """People pack either the folder or its content."""
    nested, _ = unpack_archive(zipped(tmp_path / "a.zip", ("model/config.json", b"{}")), target)
    assert (nested / "config.json").read_bytes() == b"{}"
    (target.parent / "other").mkdir()
    flat, _ = unpack_archive(tarred(tmp_path / "a.tgz", entry("config.json"), content=b"{}"), target.parent / "other")
    assert (flat / "config.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    "name", [*(f"{name}/config.json" for name in OUTSIDE), "../config.json", "/config.json", "code.py"]
)
def test_outside_paths_and_other_files_are_never_written(target: Path, tmp_path: Path, name: str) -> None:
    """An archive must not overwrite the importer's files."""
    for archive in (zipped(tmp_path / "a.zip", (name, b"x")), tarred(tmp_path / "a.tgz", entry(name), content=b"x")):
        assert unpack_archive(archive, target)[1] == [name]
    assert files_beside(target) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_never_written(target: Path, tmp_path: Path, kind: bytes) -> None:
    """Writing through a link would change another file."""
    archive = tarred(tmp_path / "a.tgz", entry("config.json", kind, target="/etc/passwd"))
    assert unpack_archive(archive, target) == (target, ["config.json"])


def test_a_link_in_a_zip_is_never_written(target: Path, tmp_path: Path) -> None:
    """ZIP archives store links in file attributes."""
    archive = zipped(tmp_path / "a.zip", ("config.json", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777)
    assert unpack_archive(archive, target) == (target, ["config.json"])


def test_a_duplicate_entry_is_refused(target: Path, tmp_path: Path) -> None:
    """The second entry would replace the checked one."""
    with pytest.warns(UserWarning, match="Duplicate name"), pytest.raises(ModelFolderError, match=r"config\.json"):
        unpack_archive(zipped(tmp_path / "a.zip", ("config.json", b"{}"), ("config.json", b"{ }")), target)


def test_a_zip_bomb_is_refused_before_it_fills_the_disk(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred kilobytes of zeros can unpack to a hundred megabytes."""
    size = 64 << 20
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * size))
    with pytest.raises(ModelFolderError, match=r"model\.safetensors"):
        unpack_archive(zipped(tmp_path / "a.zip", ("model.safetensors", bytes(size + 1))), target)
    assert sum(p.stat().st_size for p in target.rglob("*") if p.is_file()) <= size


def test_a_truncated_archive_is_refused(target: Path, tmp_path: Path) -> None:
    """Half a model must not be imported."""
    import random

    content = random.Random(0).randbytes(500_000)
    archive = tarred(tmp_path / "a.tgz", entry("model.safetensors"), content=content)
    archive.write_bytes(archive.read_bytes()[:200_000])
    with pytest.raises(ModelFolderError, match=r"a\.tgz"):
        unpack_archive(archive, target)


def test_an_archive_is_recognized_by_its_content(tmp_path: Path) -> None:
    """File names can be wrong."""
    assert is_archive(zipped(tmp_path / "model.gguf", ("a", b"b")))
    (tmp_path / "model.zip").write_bytes(b"not an archive")
    assert not is_archive(tmp_path / "model.zip")
