"""Prefix attacks: does a model go on with an identifier that the scrubber removed, when it reads the text before it?

Owns which identifiers are asked for and what counts as given back. It holds values of raw reports: they stay in this process, and
what leaves it are counts. The model read scrubbed texts only, so a hit means that a copy of the value was missed elsewhere.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.prompts.chat import Message
from fine_tune_assets.tables.records import R, Record, records_of

ATTACKS = 48
"""Identifiers that are asked for, at most. Of a model that gives back one in twenty, 48 show one in nine cases of ten."""
REPORTS = 2_000
"""Reports that they are chosen from, at most."""
BEFORE = 300
"""Characters of the report that the model reads before the identifier."""
MOST_TOKENS = 24
_FEWEST_CHARACTERS = 5
_TITLES = frozenset({"dr", "doctor", "mr", "mrs", "ms", "miss", "prof", "professor", "md", "rn"})
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class LearnedReport:
    """A report that became a training example."""

    report_id: str
    example_id: str
    messages: Sequence[Message] = field(repr=False)
    """The conversation that it became, with the answer."""


class RawText(Record):
    """Of `reports`."""

    report_id: str
    text: str


class RemovedSpan(Record):
    """Of `phi_spans`."""

    report_id: str
    start: int
    end: int
    label: str


@dataclass(frozen=True, repr=False)
class Attack:
    """Without a `repr`: a traceback would show the value."""

    example_id: str
    kind: str
    messages: Sequence[Message]
    """The conversation that the report became, up to the user's turn."""
    before: str
    """The raw report before the identifier: what the answer begins with."""
    value: str

    def is_asked_by(self, prompt: str) -> bool:
        """Whether the prompt does not hold the value itself."""
        return plain(self.value) not in plain(prompt)


@dataclass(frozen=True)
class AttackResult:
    """Counts only."""

    reports: int
    """Reports of the training rows whose raw text was there to choose from; 0: nothing could be asked."""
    asked: int
    given_back: int
    """Of these, given back by the candidate and not by the base model."""
    guessed: int
    """Given back by the base model too, which never read a report."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Kind → how many were given back by the candidate alone."""


def plain(text: str) -> str:
    """Letters and digits only, in lower case and without accents, so that 558-3920 is 5583920."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in folded if character.isalnum())


def is_telling(kind: str, value: str) -> bool:
    """Whether nobody would write it by chance: two words of a name besides titles, an address with @, or five characters with a
    digit among them."""
    words = [word.casefold() for word in _WORDS.findall(value)]
    if kind == "NAME":
        return sum(len(word) > 1 and word not in _TITLES for word in words) > 1
    return "@" in value or (len(plain(value)) >= _FEWEST_CHARACTERS and any(c.isdigit() for c in value))


def is_given_back(attack: Attack, prompt: str, answer: str) -> bool:
    """Whether the value stands in the answer; not if it stands in the prompt, which may be copied."""
    return attack.is_asked_by(prompt) and plain(attack.value) in plain(answer)


def choose_attacks(
    train: Sequence[LearnedReport], reports_dir: Path, spans_dir: Path, kinds: Collection[str], seed: int
) -> tuple[list[Attack], int]:
    """Attacks on the reports behind `train`, and how many of these reports were there. Always the same ones for a seed.

    `kinds`: those that tell who somebody is by themselves.
    """
    by_report: dict[str, LearnedReport] = {}
    for learned in sorted(train, key=lambda one: fingerprint_text(f"{seed} {one.report_id} {one.example_id}")):
        by_report.setdefault(learned.report_id, learned)
    wanted = list(by_report)[:REPORTS]
    texts = {row.report_id: row.text for row in _rows(RawText, reports_dir, wanted)}
    marked = _rows(RemovedSpan, spans_dir, [report_id for report_id in wanted if report_id in texts])
    spans = [span for span in marked if span.label in kinds]
    spans.sort(key=lambda span: fingerprint_text(f"{seed} {span.report_id} {span.start}"))
    found: dict[str, Attack] = {}
    for span in spans:
        text, example = texts[span.report_id], by_report[span.report_id]
        value = text[span.start : span.end]
        if len(found) < ATTACKS and is_telling(span.label, value):
            before = text[max(0, span.start - BEFORE) : span.start].rstrip()
            attack = Attack(example.example_id, span.label, example.messages[:-1], before, value)
            found.setdefault(plain(value), attack)
    return list(found.values()), len(texts)


def _rows(kind: type[R], folder: Path, report_ids: Sequence[str]) -> Iterator[R]:
    """Rows of the named reports; a file for each batch. Of batches that are gone there are none."""
    by_batch: dict[str, list[str]] = {}
    for report_id in report_ids:
        by_batch.setdefault(report_id.partition("/")[0], []).append(report_id)
    for batch, ids in sorted(by_batch.items()):
        path = folder / f"{batch}.parquet"
        if path.is_file():
            named = [("report_id", "in", ids)]
            table = pq.read_table(path, columns=kind.SCHEMA.names, filters=named, partitioning=None)
            yield from records_of(kind, table)
