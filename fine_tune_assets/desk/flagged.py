"""Where in an output a flag points: its detail's text, as a whole word. Owns finding the places; flags are `approval`'s."""

import re
from collections.abc import Iterable, Sequence


def flag_spans(output: str, flags: Sequence[str]) -> list[tuple[int, int, str]]:
    """(start, end, kind) of each place that a flag `<kind>: <detail>` names. A detail that is nowhere has none."""
    return [(start, end, kind) for kind, detail in _parts(flags) for start, end in _places(output, detail)]


def _parts(flags: Iterable[str]) -> list[tuple[str, str]]:
    parted = (flag.partition(":") for flag in flags)
    return [(kind.strip(), detail.strip()) for kind, _, detail in parted if detail.strip()]


def _places(output: str, detail: str) -> list[tuple[int, int]]:
    words = r"\s+".join(re.escape(word) for word in detail.split())
    # A number inside of a longer one is another number.
    whole = re.compile(rf"(?<![\w.,])(?:{words})(?![\w]|[.,]\d)" if detail[0].isalnum() else words, re.IGNORECASE)
    return [match.span() for match in whole.finditer(output)]
