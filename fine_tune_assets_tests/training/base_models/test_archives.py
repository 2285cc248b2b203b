"""An archive writes plain files below one folder, or nothing."""

import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.training.base_models.imports import is_archive, unpack

OUTSIDE = ["../evil", "/evil", "a/../../evil", "a\\..\\evil", "C:evil"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
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


def files_beside(place: Path) -> list[str]:
    root = place.parent.parent
    return sorted(
        p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.suffix not in (".zip", ".tgz")
    )


def test_a_single_folder_at_the_top_is_stepped_into(place: Path, tmp_path: Path) -> None:
    """People pack the folder, or what is in it: both are the model."""
    whole, _ = unpack(zipped(tmp_path / "a.zip", ("model/config.json", b"{}")), place)
    assert (whole / "config.json").read_bytes() == b"{}"
    (place.parent / "other").mkdir()
    flat, _ = unpack(tarred(tmp_path / "a.tgz", entry("config.json"), content=b"{}"), place.parent / "other")
    assert (flat / "config.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    "name", [*(f"{name}/config.json" for name in OUTSIDE), "../config.json", "/config.json", "code.py"]
)
def test_what_leads_out_or_is_no_file_of_a_model_is_never_written(place: Path, tmp_path: Path, name: str) -> None:
    """It would overwrite a file of whoever imports."""
    for archive in (zipped(tmp_path / "a.zip", (name, b"x")), tarred(tmp_path / "a.tgz", entry(name), content=b"x")):
        assert unpack(archive, place)[1] == [name]
    assert files_beside(place) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_never_written(place: Path, tmp_path: Path, kind: bytes) -> None:
    """What is written through a link lands elsewhere."""
    archive = tarred(tmp_path / "a.tgz", entry("config.json", kind, target="/etc/passwd"))
    assert unpack(archive, place) == (place, ["config.json"])


def test_a_link_in_a_zip_is_never_written(place: Path, tmp_path: Path) -> None:
    """ZIP has links too, hidden in the attributes."""
    archive = zipped(tmp_path / "a.zip", ("config.json", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777)
    assert unpack(archive, place) == (place, ["config.json"])


def test_an_entry_that_comes_twice_is_refused(place: Path, tmp_path: Path) -> None:
    """The second one would replace what was looked at."""
    with pytest.warns(UserWarning, match="Duplicate name"), pytest.raises(ModelFolderError, match="twice"):
        unpack(zipped(tmp_path / "a.zip", ("config.json", b"{}"), ("config.json", b"{ }")), place)


def test_a_bomb_is_refused_before_it_fills_the_disk(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred kilobytes of zeros can be a hundred megabytes."""
    size = 64 << 20
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * size))
    with pytest.raises(ModelFolderError, match="more than fits on the disk"):
        unpack(zipped(tmp_path / "a.zip", ("model.safetensors", bytes(size + 1))), place)
    assert sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) <= size


def test_an_archive_cut_off_is_refused(place: Path, tmp_path: Path) -> None:
    """Half a model must not pass as one."""
    import random

    content = random.Random(0).randbytes(500_000)
    archive = tarred(tmp_path / "a.tgz", entry("model.safetensors"), content=content)
    archive.write_bytes(archive.read_bytes()[:200_000])
    with pytest.raises(ModelFolderError, match="damaged"):
        unpack(archive, place)


def test_what_is_an_archive_is_told_by_content(tmp_path: Path) -> None:
    """Names lie."""
    assert is_archive(zipped(tmp_path / "model.gguf", ("a", b"b")))
    (tmp_path / "model.zip").write_bytes(b"nothing of the kind")
    assert not is_archive(tmp_path / "model.zip")
