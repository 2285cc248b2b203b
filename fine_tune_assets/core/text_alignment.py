"""Finds the parts that a text keeps when some of its passages are replaced by others of unknown length."""

from collections.abc import Sequence


def place_parts(parts: Sequence[str], text: str) -> list[int] | None:
    """Where each part begins in `text`, which consists of the parts and a replaced passage, not empty, between two of them.

    Takes the first possible place of each part. If any places fit, these do. None if the text is another one.

    >>> place_parts(["Seen by ", ", MD."], "Seen by Jo Alder, MD.")
    [0, 16]
    """
    places, at = list[int](), 0
    for number, part in enumerate(parts):
        earliest = at + (1 if number else 0)
        place = len(text) - len(part) if number + 1 == len(parts) else text.find(part, earliest)
        if place < earliest or (number == 0 and place > 0) or not text.startswith(part, place):
            return None
        at = place + len(part)
        places.append(place)
    return places
