"""SentencePiece models (`tokenizer.model`): a protobuf with known fields and nothing else.

Owns telling such a file from any other one. Does not tokenize.
"""

from collections.abc import Iterator
from pathlib import Path

_MODEL_FIELDS = {1, 2, 3, 4, 5}
"""Of ModelProto: pieces, trainer_spec, normalizer_spec, self_test_data, denormalizer_spec."""
_PIECE_FIELDS = {1: 2, 2: 5, 3: 0}
"""Of SentencePiece, each with its wire type: piece, score, type."""
_LARGEST = 64 << 20


def is_sentencepiece_model(path: Path) -> bool:
    """Whether every byte belongs to a field of a SentencePiece model with at least one piece."""
    if path.stat().st_size > _LARGEST:
        return False
    has_piece = False
    try:
        for number, wire, value in _fields(path.read_bytes()):
            if number not in _MODEL_FIELDS or wire != 2 or (number == 1 and not _is_piece(value)):
                return False
            has_piece |= number == 1
    except (IndexError, ValueError):
        return False
    return has_piece


def _is_piece(content: bytes) -> bool:
    fields = list(_fields(content))
    return all(_PIECE_FIELDS.get(number) == wire for number, wire, _ in fields) and bool(fields)


def _fields(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, wire type and bytes of each field. Raises ValueError or IndexError if a byte is left over."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        wire = tag & 7
        if wire == 0:
            end = _varint(content, position)[1]
        elif wire == 2:
            length, position = _varint(content, position)
            end = position + length
        else:
            end = position + {1: 8, 5: 4}.get(wire, len(content) + 1)
        if end > len(content):
            raise ValueError("cut off")
        yield tag >> 3, wire, content[position:end]
        position = end


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
        if shift > 63:
            raise ValueError("no number")
