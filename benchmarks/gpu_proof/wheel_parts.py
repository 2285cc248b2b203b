"""Packs wheels in parts of a limited size and joins them again. Needs Python alone, so that it runs on a bare machine.

A part is a tar file with chunks of wheels and a manifest. `python3 wheel_parts.py STORE SITE PART…` keeps the chunks in STORE
over several visits, and installs each wheel that is complete into SITE.
"""

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

PART_BYTES = 20_000_000
_OVERHEAD_BYTES = 20_000
"""Of a part: its manifest and tar's headers."""
MANIFEST = "manifest.json"
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
    """Write `part-NN.tar` files of at most `part_bytes`. A wheel that is larger is cut into chunks."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*.tar"):
        old.unlink()
    room = part_bytes - _OVERHEAD_BYTES
    parts: list[list[tuple[str, bytes, str, int]]] = []
    left = 0
    # The largest first: small wheels then fill the ends of the parts.
    for wheel in sorted(wheels, key=lambda path: (-path.stat().st_size, path.name)):
        content = wheel.read_bytes()
        digest, start = hashlib.sha256(content).hexdigest(), 0
        while start < len(content):
            if left < 1024:
                parts.append([])
                left = room
            chunk = content[start : start + left]
            parts[-1].append((wheel.name, chunk, digest, start))
            start += len(chunk)
            left -= len(chunk) + 1024  # tar pads each file to blocks
    sizes = {wheel.name: wheel.stat().st_size for wheel in wheels}
    return [
        _write_part(folder / f"part-{number:02}.tar", chunks, sizes) for number, chunks in enumerate(parts, start=1)
    ]


def _write_part(path: Path, chunks: Sequence[tuple[str, bytes, str, int]], sizes: dict[str, int]) -> Path:
    entries = [
        {"file": f"{name}.{start}", "wheel": name, "start": start, "size": sizes[name], "sha256": digest}
        for name, _, digest, start in chunks
    ]
    with tarfile.open(path, "w") as tar:
        _add(tar, MANIFEST, json.dumps(entries).encode())
        for entry, (_, content, _, _) in zip(entries, chunks, strict=True):
            _add(tar, str(entry["file"]), content)
    return path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def join_parts(parts: Iterable[Path], store: Path) -> tuple[list[Path], list[str]]:
    """Add the parts' chunks to `store`. Returns the complete wheels there, and the names of the incomplete ones.

    Raises ValueError for a wheel whose content is not what was packed.
    """
    store.mkdir(parents=True, exist_ok=True)
    for part in parts:
        with tarfile.open(part) as tar:
            tar.extractall(store, filter="data")
            (store / MANIFEST).rename(store / f"{part.name}.json")
    entries = [entry for path in store.glob("part-*.tar.json") for entry in json.loads(path.read_text())]
    complete, incomplete = [], []
    for name in sorted({entry["wheel"] for entry in entries}):
        own = sorted((entry for entry in entries if entry["wheel"] == name), key=lambda entry: int(entry["start"]))
        content = b"".join((store / entry["file"]).read_bytes() for entry in own)
        if len(content) < own[0]["size"]:
            incomplete.append(name)
            continue
        if hashlib.sha256(content).hexdigest() != own[0]["sha256"]:
            raise ValueError(f"{name} is not what was packed.")
        (store / name).write_bytes(content)
        complete.append(store / name)
    return complete, incomplete


def install(wheels: Sequence[Path], site: Path) -> None:
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir",
        "--disable-pip-version-check", "--upgrade", "--target", str(site), *map(str, wheels),
    ]  # fmt: skip
    subprocess.run(command, check=True)


if __name__ == "__main__":
    complete, incomplete = join_parts(map(Path, sys.argv[3:]), Path(sys.argv[1]))
    install(complete, Path(sys.argv[2]))
    print(f"{len(complete)} wheels installed; incomplete: {', '.join(incomplete) or 'none'}")
