"""Finds pickles by what they are: a program in Python's pickle opcodes, of any protocol, under any name, at any place.

Owns reading opcodes without running them. A pickle that breaks off counts: what stands before the break has run by then.
"""

import io
import mmap
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
_PROTOCOL, _STOP = 0x80, ord(".")
_IMPORTS = {"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}
_CALLS = {"INST", "OBJ", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD"}
_MOST_OPCODES = 2_000_000
"""About two seconds. What is longer and still reads as opcodes is called a pickle."""
_MOST_IN_ALL = 20_000_000
"""Opcodes over all places of one file: a file made to cost more than that is called a pickle too."""
_MOST_SIMULATED = _LONGEST_LINE = 16 << 20
_NAME = re.compile(rb"[A-Za-z_][\w.]*\r?")
# Where a pickle may begin in the middle of a file: a header, an import written as text, or one of two strings.
_BEGINNING = re.compile(
    rb"\x80[\x00-\x05]|[ci][A-Za-z_][\w.]{0,200}\r?\n[A-Za-z_][\w.]{0,200}\r?\n"
    rb"|\x8c.[A-Za-z_][\w.]{0,200}\x94?\x8c.[A-Za-z_][\w.]{0,200}\x94?\x93",
    re.DOTALL,
)
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
"""Bytes of the length that stands before an argument, and whether it is signed."""


@dataclass(frozen=True)
class _Walk:
    opcodes: int
    has_header: bool
    end: int | None
    """Where it stops by itself; None if it breaks off."""
    runs_code: bool


def is_pickle(path: Path) -> bool:
    """Whether the file is a pickle from its first byte on."""
    return _begins_with_pickle(_content(path))


def holds_pickle(path: Path) -> bool:
    """Whether a pickle that runs code begins anywhere in the file."""
    content, opcodes = _content(path), 0
    if _begins_with_pickle(content):
        return True
    for found in _BEGINNING.finditer(content):
        walk = _walk(content, found.start())
        opcodes += walk.opcodes
        if walk.runs_code or opcodes > _MOST_IN_ALL:
            return True
    return False


def _content(path: Path) -> bytes | mmap.mmap:
    """The bytes of a file, without reading it into memory. An empty file can't be mapped."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _begins_with_pickle(content: bytes | mmap.mmap) -> bool:
    walk = _walk(content, 0)
    if walk.runs_code or (walk.has_header and walk.opcodes > 1):
        return True
    # Data alone, without a header (protocol 0 or 1): a text can look so by chance, but not with a sound stack.
    return walk.end is not None and not content[walk.end : walk.end + 1024].strip() and _is_sound(content[: walk.end])


def _is_sound(content: bytes) -> bool:
    if len(content) > _MOST_SIMULATED:
        return True
    try:
        pickletools.dis(io.BytesIO(content), out=io.StringIO())
    # It raises whatever the argument's reader raises: the content is hostile.
    except Exception:  # noqa: BLE001
        return False
    return True


def _walk(content: bytes | mmap.mmap, start: int) -> _Walk:
    """Follow opcodes from `start` on until they stop, break off, or prove to run code."""
    count, has_header, has_imported = 0, False, False
    for opcode, position, is_plausible in _opcodes(content, start):
        count += 1
        has_header |= count == 1 and opcode.name == "PROTO" and content[start + 1] <= 5
        if opcode.code == ".":
            return _Walk(count, has_header, position, has_imported)
        if opcode.name in _CALLS and (has_imported or (opcode.name == "INST" and is_plausible)):
            return _Walk(count, has_header, None, True)
        has_imported |= opcode.name in _IMPORTS and is_plausible
        if count >= _MOST_OPCODES:
            return _Walk(count, has_header, None, True)
    return _Walk(count, has_header, None, False)


def _opcodes(content: bytes | mmap.mmap, start: int) -> Iterator[tuple[pickletools.OpcodeInfo, int, bool]]:
    """Each opcode, the place after its argument, and whether the names in the argument can be names of Python."""
    position, size = start, len(content)
    while position < size:
        opcode = _OPCODES.get(content[position])
        if opcode is None:
            return
        end, is_plausible = _after(content, position + 1, opcode)
        if end > size:
            return
        yield opcode, end, is_plausible
        position = end


def _after(content: bytes | mmap.mmap, position: int, opcode: pickletools.OpcodeInfo) -> tuple[int, bool]:
    """The place after an opcode's argument; past the end of the file if the argument is cut off."""
    beyond = len(content) + 1
    if opcode.arg is None:
        return position, True
    if opcode.arg.n >= 0:
        return position + opcode.arg.n, True
    if opcode.arg.n == pickletools.UP_TO_NEWLINE:
        lines = 2 if opcode.name in ("GLOBAL", "INST") else 1
        is_plausible = True
        for _ in range(lines):
            end = content.find(b"\n", position, position + _LONGEST_LINE)
            if end < 0:
                return beyond, False
            is_plausible &= lines == 1 or bool(_NAME.fullmatch(content[position : min(end, position + 500)]))
            position = end + 1
        return position, is_plausible
    width, is_signed = _LENGTHS[opcode.arg.n]
    length = int.from_bytes(content[position : position + width], "little", signed=is_signed)
    return (beyond, False) if length < 0 else (position + width + length, True)
