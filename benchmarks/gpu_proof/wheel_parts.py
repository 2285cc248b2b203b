"""Packs wheels in parts of a limited size and joins them again. Needs Python alone, so that it runs on a bare machine.

Parts are pieces of one tar file. `python3 wheel_parts.py STORE SITE PART…` keeps them in STORE over several visits, and installs
the wheels into SITE when the last one is there.
"""

import csv
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

PART_BYTES = 20_000_000
_PART = re.compile(r"part-(?P<number>\d+)-of-(?P<count>\d+)-(?P<digest>[0-9a-f]{12})")
KEPT_CUDA = ("130",)
_OTHER_BUILDS = re.compile(r"bitsandbytes/libbitsandbytes_(?:cuda(?P<cuda>\d+)|rocm\d+|xpu\d+|hpu\d+)\.so$")


def slim_wheel(source: Path, target: Path) -> Path:
    """Copy a wheel without the libraries for other CUDA versions and makes of card, of which bitsandbytes brings 140 MB."""
    with zipfile.ZipFile(source) as read:
        names = [name for name in read.namelist() if not _is_other_build(name)]
        if len(names) == len(read.namelist()):
            target.write_bytes(source.read_bytes())
            return target
        record = next(name for name in names if name.endswith(".dist-info/RECORD"))
        kept = set(names)
        rows = [row for row in csv.reader(read.read(record).decode().splitlines()) if row and row[0] in kept]
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as written:
            for name in names:
                written.writestr(read.getinfo(name), _as_csv(rows) if name == record else read.read(name))
    return target


def _is_other_build(name: str) -> bool:
    found = _OTHER_BUILDS.search(name)
    return found is not None and found["cuda"] not in KEPT_CUDA


def _as_csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def pack_parts(wheels: Sequence[Path], folder: Path, part_bytes: int) -> list[Path]:
    """Write files of at most `part_bytes`, instead of earlier ones. Their names have the number of parts and the digest."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*"):
        old.unlink()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for wheel in sorted(wheels):
            tar.add(wheel, wheel.name)
    content = packed.getvalue()
    digest, count = _digest(content), -(-len(content) // part_bytes)
    parts = [folder / f"part-{number:02}-of-{count:02}-{digest}" for number in range(1, count + 1)]
    for index, part in enumerate(parts):
        part.write_bytes(content[index * part_bytes : (index + 1) * part_bytes])
    return parts


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def join_parts(parts: Iterable[Path], store: Path) -> tuple[list[Path], int]:
    """Add parts to `store`. Returns the wheels of every set of parts that is complete there, and the number of missing parts.

    Raises ValueError for a set whose content is not what was packed.
    """
    store.mkdir(parents=True, exist_ok=True)
    for part in parts:
        shutil.copyfile(part, store / part.name)
    sets: dict[tuple[str, int], list[Path]] = {}
    for path in sorted(store.glob("part-*")):
        if named := _PART.fullmatch(path.name):
            sets.setdefault((named["digest"], int(named["count"])), []).append(path)
    wheels, missing = list[Path](), 0
    for (digest, count), found in sets.items():
        missing += count - len(found)
        if len(found) == count:
            content = b"".join(path.read_bytes() for path in found)
            if _digest(content) != digest:
                raise ValueError(f"The parts with {digest} in their names are not what was packed.")
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                tar.extractall(store, filter="data")
                wheels += [store / name for name in tar.getnames()]
    return sorted(set(wheels)), missing


def install(wheels: Sequence[Path], site: Path) -> None:
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir",
        "--disable-pip-version-check", "--upgrade", "--target", str(site), *map(str, wheels),
    ]  # fmt: skip
    subprocess.run(command, check=True)


if __name__ == "__main__":
    joined, missing = join_parts(map(Path, sys.argv[3:]), Path(sys.argv[1]))
    if joined:
        install(joined, Path(sys.argv[2]))
    print(f"{len(joined)} wheels installed; {missing} parts missing")
