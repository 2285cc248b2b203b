"""Cuts a report into passages that a model can read one by one. A passage is a verbatim part of the report.

Paragraphs stay whole if they fit. A heading stays with the text below it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_PARAGRAPH: Final = re.compile(r"\S(?:.*\S)?(?:[^\S\n]*\n[^\S\n]*\S(?:.*\S)?)*")
"""Lines that are not blank. Takes time in proportion to the text, even if that has long runs of spaces."""
_SMALLER_PARTS: Final = (re.compile(r"\S[^\n]*"), re.compile(r"\S.*?(?:[.!?](?=\s)|\Z)", re.DOTALL), re.compile(r"\S+"))
"""Lines, sentences and words, for a paragraph that is too long."""
_MAX_HEADING_WORDS: Final = 12


@dataclass(frozen=True)
class _Part:
    start: int
    end: int
    words: int
    is_heading: bool = False


def split_passages(text: str, maximum_words: int) -> list[str]:
    """The passages in order, each with at most `maximum_words` words and something other than headings.

    >>> split_passages("DOSE\\n\\nTwo tablets daily.\\n\\nSTORAGE\\n\\nKeep it dry.", 4)
    ['DOSE\\n\\nTwo tablets daily.', 'STORAGE\\n\\nKeep it dry.']
    """
    passages, open_parts = list[str](), list[_Part]()
    for part in _split_parts(text, maximum_words):
        if sum(one.words for one in open_parts) + part.words > maximum_words:
            headings = _count_last_headings(open_parts)
            kept = open_parts[len(open_parts) - headings :]
            passages += _join(text, open_parts[: len(open_parts) - headings])
            # Headings that leave no room for their text are dropped.
            open_parts = kept if sum(one.words for one in kept) + part.words <= maximum_words else []
        open_parts.append(part)
    return passages + _join(text, open_parts)


def _split_parts(text: str, maximum_words: int) -> Iterator[_Part]:
    for found in _PARAGRAPH.finditer(text):
        words = len(found[0].split())
        if words <= maximum_words:
            yield _Part(*found.span(), words, _is_heading(found[0], words))
        else:
            yield from _split_paragraph(text, *found.span(), maximum_words, _SMALLER_PARTS)


def _split_paragraph(
    text: str, start: int, end: int, maximum_words: int, patterns: Sequence[re.Pattern[str]]
) -> Iterator[_Part]:
    for found in patterns[0].finditer(text, start, end):
        words = len(found[0].split())
        if words <= maximum_words or len(patterns) == 1:
            yield _Part(*found.span(), words)
        else:
            yield from _split_paragraph(text, *found.span(), maximum_words, patterns[1:])


def _is_heading(paragraph: str, words: int) -> bool:
    return "\n" not in paragraph and words <= _MAX_HEADING_WORDS and not paragraph.endswith((".", "!", "?", ";", ","))


def _count_last_headings(parts: Sequence[_Part]) -> int:
    return next((count for count, part in enumerate(reversed(parts)) if not part.is_heading), len(parts))


def _join(text: str, parts: Sequence[_Part]) -> list[str]:
    """One passage, or none if there are only headings."""
    return [] if all(part.is_heading for part in parts) else [text[parts[0].start : parts[-1].end]]
