"""A row of a data set as the text of a report: a marker line before each of instruction, input and output.

The markers have no capitals, so that neither the scrubber nor the search for section headings changes them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from fine_tune_assets.dataset_files.dataset_rows import Conversation, DatasetRow, PreferencePair, Refusal

INSTRUCTION, INPUT, OUTPUT = "== instruction ==", "== input ==", "== output =="
MARKERS = (INSTRUCTION, INPUT, OUTPUT)
_MARKER_LINE = re.compile(rf"^[ \t]*({'|'.join(map(re.escape, MARKERS))})[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class RowTexts:
    instruction: str = field(repr=False)
    input: str = field(repr=False)
    """Empty if there is none."""
    output: str = field(repr=False)


def split_row_report(text: str) -> RowTexts | None:
    """The texts of a row; None if the report is not one."""
    before, *parts = _MARKER_LINE.split(text)
    found = dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
    is_whole = len(found) * 2 == len(parts) and not before.strip() and found.get(OUTPUT)
    if not is_whole or not (found.get(INSTRUCTION) or found.get(INPUT)):
        return None
    return RowTexts(found.get(INSTRUCTION, ""), found.get(INPUT, ""), found[OUTPUT])


def refuse_unusable(rows: Iterable[DatasetRow]) -> Iterator[DatasetRow]:
    """The rows, with a refusal in place of what a report can't hold: several turns, preference pairs, marker lines."""
    for row in rows:
        reason = _refusal(row.content)
        yield row if reason is None else replace(row, content=reason)


def _refusal(content: Conversation | PreferencePair | Refusal) -> Refusal | None:
    if isinstance(content, PreferencePair):
        return Refusal.PREFERENCE_PAIR
    if isinstance(content, Refusal):
        return None
    if content.history:
        return Refusal.SEVERAL_TURNS
    texts = (content.instruction, content.input, content.output)
    # A report has line feeds alone.
    has_marker = any(_MARKER_LINE.search(text.replace("\r", "\n")) for text in texts)
    return Refusal.MARKER_LINE if has_marker else None
