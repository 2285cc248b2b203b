"""Files in which other content is packed, found by what they are: whatever unpacks them may load a pickle from them.

Owns the beginnings of known formats, and trying the two that have none. Nothing is unpacked further than to know that it can be.
"""

import lzma
import zlib
from pathlib import Path

CONTAINERS = {
    b"PK\x03\x04": "a ZIP archive", b"PK\x05\x06": "a ZIP archive", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4", b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive",
    b"\x02\x21\x4c\x18": "lz4", b"\x1f\x9d": "compress", b"\xff\x06\x00\x00sNaPpY": "snappy", b"LZIP": "lzip", b"\x89LZO": "lzop",
    # Frames to be skipped, after which one of lz4 or zstd comes.
    **{bytes([first]) + b"\x2a\x4d\x18": "lz4 or zstd" for first in range(0x50, 0x60)},
    b"x\x01": "zlib", b"x\x5e": "zlib", b"x\x9c": "zlib", b"x\xda": "zlib", b"ZF": "zlib",
    b"\x93NUMPY": "a NumPy file", b"\x89HDF\r\n\x1a\n": "an HDF5 file",
}  # fmt: skip
"""How each begins, and what it is."""
_HEAD, _MOST_UNPACKED = 4 << 10, 1 << 20
"""Bytes of a file that are tried, fewer than a reader takes at once (8 KiB): what is broken only behind them would be read up to
there. And bytes that may come of them: a bomb is not unpacked."""
_MOST_MEMORY = 64 << 20
"""For the dictionary that a file asks for: it may name 4 GB."""


def is_compressed(path: Path) -> bool:
    """Whether it unpacks as zlib or LZMA. They begin with settings of their own and no fixed bytes (`]\\0\\0` is only what
    joblib's `.lzma` has by default), so that a list of beginnings would miss some."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    try:
        if zlib.decompressobj().decompress(head, _MOST_UNPACKED):
            return True
    except zlib.error:
        pass
    try:
        return bool(lzma.LZMADecompressor(memlimit=_MOST_MEMORY).decompress(head, _MOST_UNPACKED))
    except lzma.LZMAError as error:
        return "limit" in str(error)  # its header is sound, and asks for more memory
    except EOFError:
        return False
