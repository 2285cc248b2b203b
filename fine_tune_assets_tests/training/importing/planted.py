"""Pickles of many kinds that would run `touch planted` when loaded. None of them is ever loaded."""

import bz2
import gzip
import io
import lzma
import pickle
import pickletools
import struct
import tarfile
import zipfile
import zlib

import numpy as np


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch planted",)


def _zipped(name: str, content: bytes, prefix: bytes = b"") -> bytes:
    file = io.BytesIO()
    file.write(prefix)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def _tarred(content: bytes, mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        entry = tarfile.TarInfo("data.pkl")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _zlib(level: int, window: int = 15) -> bytes:
    packer = zlib.compressobj(level, wbits=window)
    return packer.compress(_LATEST) + packer.flush()


def _lzma(**settings: int) -> bytes:
    return lzma.compress(_LATEST, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, **settings}])


def _lz4_stored() -> bytes:
    """A frame of one block that is stored as it is, by the format's description; its checksum is left out of account."""
    return b"\x04\x22\x4d\x18\x60\x40\x82" + struct.pack("<I", 1 << 31 | len(_LATEST)) + _LATEST + bytes(4)


def _objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Evil()], dtype=object), allow_pickle=True)
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, weights=np.array([Evil()], dtype=object), allow_pickle=True)
    return file.getvalue()


_LATEST = pickle.dumps(Evil(), 4)
_TEXT = b"cposix\nsystem\n(S'touch planted'\ntR."
PICKLES: dict[str, bytes] = {
    **{f"protocol {protocol}": pickle.dumps(Evil(), protocol) for protocol in range(6)},
    **{f"data alone, protocol {protocol}": pickle.dumps({"weights": [1.5, "x"]}, protocol) for protocol in range(6)},
    "optimised": pickletools.optimize(_LATEST),
    "a Python 2 class": b"(S'touch planted'\niposix\nsystem\n.",
    "object built by OBJ": b"(cposix\nsystem\nS'touch planted'\no.",
    "broken off after the call": _LATEST[:-1],
    "broken off by nonsense": _LATEST[:-1] + b"\xff\xff not an opcode",
    "text, broken off": _TEXT[:-1],
    "text, with Windows lines": _TEXT.replace(b"\n", b"\r\n"),
    "after a long string": b"X" + struct.pack("<I", 3_000_000) + b"x" * 3_000_000 + b"0" + _TEXT,
    "after many harmless opcodes": b"N0" * 300_000 + _TEXT,
    "header of protocol 0": b"\x80\x00" + _TEXT,
    "names on the stack, no header": b"\x8c\x05posix\x8c\x06system\x93\x8c\x0dtouch planted\x85R.",
    "a second one after a harmless one": pickle.dumps(1, 2) + _LATEST,
    "torch.save (ZIP)": _zipped("archive/data.pkl", _LATEST),
    "ZIP after other bytes": _zipped("data.pkl", _LATEST, prefix=b"just a model\n" * 100),
    "tar, as NeMo": _tarred(_LATEST),
    "tar.gz": _tarred(_LATEST, "w:gz"),
    "NumPy objects": _objects(),
    "NumPy archive": _npz(),
    "joblib (zlib)": zlib.compress(_LATEST),
    "joblib (gzip)": gzip.compress(_LATEST),
    "bzip2": bz2.compress(_LATEST),
    "joblib (lzma)": lzma.compress(_LATEST, lzma.FORMAT_ALONE),
    "LZMA, another dictionary": _lzma(dict_size=3 << 15),
    "LZMA, other settings": _lzma(dict_size=1 << 16, lc=1, lp=2, pb=0),
    "LZMA that asks for much memory": _lzma(dict_size=1 << 30)[:40],
    "xz": lzma.compress(_LATEST),
    "lz4": _lz4_stored(),
    "lz4 after a frame to be skipped": b"\x5a\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc" + _lz4_stored(),
    **{f"zlib, level {level}": _zlib(level) for level in (0, 1, 3, 6, 9)},
    **{f"zlib, window {window}": _zlib(6, window) for window in (9, 10, 12, 14)},
    "zlib, broken off": _zlib(6)[:-5],
    "HDF5, as Keras": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "inside other bytes": bytes(range(128, 256)) * 40 + _LATEST + bytes(500),
    "text inside other bytes": b"\xff" * 999 + _TEXT,
}
"""What it is → its bytes."""


def safetensors_and_pickle() -> bytes:
    """Valid in both formats: opcodes that push strings swallow the header, which the other reader takes as JSON."""
    payload = _TEXT.ljust(60)
    for padding in range(200):
        entry = (
            f'{{"w":{{"dtype":"U8","shape":[60],"data_offsets":[0,60]}},"__metadata__":{{"{"p" * padding}":"'.encode()
        )
        # The first byte of the header's length is the opcode X, the next four are the length of its string.
        length = ord("X") + ((3 + len(entry)) << 8)
        units, left = divmod(length - len(entry), 129)
        if 34 <= left <= 126 and chr(left - 2) not in '"\\':
            filler = (b"U~" + b"a" * 126 + b"0") * units + b"U" + bytes([left - 2])
            header = entry + filler + b'"}}'.rjust(left - 2)
            return struct.pack("<Q", length) + header + payload
    raise AssertionError("No padding fits.")
