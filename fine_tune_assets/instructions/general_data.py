"""Reads general instruction data, which is mixed in against forgetting.

Each subfolder holds `source.yaml` (source, licence, format) and JSON Lines files in a format of `dataset_files`. Rows that are
faulty, empty, too long, offensive or repeated are skipped.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.prompts.conversations import escape_known_control_tokens
from fine_tune_assets.core.strict_parsing import load_values
from fine_tune_assets.dataset_files.dataset_reader import parse_rows
from fine_tune_assets.dataset_files.dataset_rows import Conversation, DatasetRow, PreferencePair, Refusal
from fine_tune_assets.dataset_files.file_rows import JSON_LINES, read_rows
from fine_tune_assets.dataset_files.row_formats import FORMATS
from fine_tune_assets.recipes.schema import BUNDLED
from fine_tune_assets.tables.common_columns import Message
from fine_tune_assets.tables.instruction_rows import GeneralExample
from fine_tune_assets.tables.record_classes import table_from_records

SOURCE_FILE = "source.yaml"
PREFERENCES = "preferences.jsonl"
"""Preference pairs of an import, which no training uses yet."""
MAX_CHARACTERS = 2000
"""Limit for the output, and for instruction, input and earlier turns together; about what fits into a small model's context."""
_KEYS = {"source", "licence", "format"}
_HEXADECIMAL = "0123456789abcdef"

# People wrote both bundled data sets, and a few prompts are crude. A word list is enough for a sample.
_OFFENSIVE = re.compile(
    r"\b(fuck\w*|shit\w*|bitch\w*|asshole\w*|cunts?|porn\w*|sluts?|whores?|sex(?:ual(?:ly)?|y)?|masturbat\w*|"
    r"rap(?:e[ds]?|ist)|kill(?:s|ed|er|ing)?|murder\w*|suicid\w*|bombs?|bombing)\b",
    re.IGNORECASE,
)


BUNDLED_FOLDERS = frozenset({"dolly_hhrlhf", "self_instruct"})
"""The data sets that come with the product, together one source of a mix."""


class GeneralDataError(FineTuneError):
    """A folder of general data is invalid."""


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(bool(line.strip()) for line in file)


@dataclass(frozen=True)
class GeneralSource:
    folder: Path
    source: str
    licence: str
    format: str

    @property
    def mix_source(self) -> str:
        return BUNDLED if self.folder.name in BUNDLED_FOLDERS else self.folder.name

    def rows(self) -> Iterator[DatasetRow]:
        """What each row contains, without preference pairs that were imported. Raises GeneralDataError without a file."""
        if not any(self.folder.glob("*.jsonl")):
            raise GeneralDataError(f"{self.folder.name} has no .jsonl file.")
        for path in self._files():
            yield from parse_rows(path.name, read_rows(path, JSON_LINES), self.format)

    def count_rows(self) -> int:
        """Lines with content; whether a row is faulty is not checked."""
        return sum(map(_count_lines, self._files()))

    def count_preference_pairs(self) -> int:
        path = self.folder / PREFERENCES
        return _count_lines(path) if path.is_file() else 0

    def _files(self) -> list[Path]:
        return [path for path in sorted(self.folder.glob("*.jsonl")) if path.name != PREFERENCES]


@dataclass(frozen=True)
class GeneralData:
    table: pa.Table
    skipped: dict[str, dict[str, int]]
    """Source → reason → number of skipped rows."""


def read_general_data(folder: Path) -> GeneralData:
    """Build `general_examples` from every subfolder, sorted by example id. Raises GeneralDataError.

    Holds the texts in Arrow only, so that a million rows need little memory.
    """
    if not folder.is_dir():
        raise GeneralDataError(
            f"The folder {folder.name} with general data is missing. Restore it, or create an empty one."
        )
    sources = list_sources(folder)
    skipped: dict[str, Counter[str]] = {one.source: Counter() for one in sources}
    table = table_from_records(GeneralExample, _suitable_examples(sources, skipped))
    return GeneralData(_sort_by_id(table), {name: dict(sorted(counts.items())) for name, counts in skipped.items()})


def list_sources(folder: Path) -> list[GeneralSource]:
    """The sources below `folder`, sorted by name. Raises GeneralDataError if one is invalid."""
    folders = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."] if folder.is_dir() else []
    sources = [_read_source(path) for path in sorted(folders)]
    licences: dict[str, str] = {}
    for one in sources:
        if licences.setdefault(one.source, one.licence) != one.licence:
            raise GeneralDataError(
                f"{one.folder.name}/{SOURCE_FILE} states another licence than an earlier folder of this source. Rename one."
            )
    return sources


def _read_source(folder: Path) -> GeneralSource:
    where = f"{folder.name}/{SOURCE_FILE}"
    try:
        facts = load_values((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GeneralDataError(f"{where} is missing. Add it with the keys {', '.join(sorted(_KEYS))}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise GeneralDataError(f"{where} is not valid UTF-8 YAML, or repeats a key.") from error
    if not isinstance(facts, dict) or set(facts) != _KEYS or not all(isinstance(v, str) and v for v in facts.values()):
        raise GeneralDataError(f"{where} must have exactly the keys {', '.join(sorted(_KEYS))}, each with a text.")
    if facts["format"] not in FORMATS:
        raise GeneralDataError(f"{where}: unknown format {facts['format']}. Known: {', '.join(sorted(FORMATS))}.")
    return GeneralSource(folder, **facts)


def _suitable_examples(
    sources: Iterable[GeneralSource], skipped: Mapping[str, Counter[str]]
) -> Iterator[GeneralExample]:
    """The examples to keep. Counts the other rows in `skipped`."""
    seen: set[str] = set()
    for source in sources:
        for row in source.rows():
            example = _make_example(row.content, source)
            reason = example if isinstance(example, str) else _skip_reason(example)
            if not isinstance(example, str) and reason is None and example.example_id not in seen:
                seen.add(example.example_id)
                yield example
            else:
                skipped[source.source][reason or "repeated"] += 1


def _make_example(content: Conversation | PreferencePair | Refusal, source: GeneralSource) -> GeneralExample | str:
    """The example, or why there is none. The recipe's system prompt takes the place of the conversation's."""
    match content:
        case Refusal():
            return content.value
        case PreferencePair():
            return "preference pair"
    texts = {name: getattr(content, name).strip() for name in ("instruction", "input", "output")}
    history = tuple(Message(role=turn.role, content=turn.content.strip()) for turn in content.history)
    turns = {"history": [turn.to_row() for turn in history]} if history else {}
    fingerprint = fingerprint_json({**texts, **turns})
    return GeneralExample(
        example_id=short(fingerprint_json([source.source, fingerprint])),
        source=source.source,
        licence=source.licence,
        mix_source=source.mix_source,
        kind=content.kind or source.source,
        **texts,
        fingerprint=fingerprint,
        history=history or None,
    )


def _skip_reason(example: GeneralExample) -> str | None:
    """Why the example is skipped, or None."""
    turns = example.history or ()
    question = sum(map(len, (example.instruction, example.input, *(turn.content for turn in turns))))
    if question > MAX_CHARACTERS or len(example.output) > MAX_CHARACTERS:
        return "too long"
    text = "\n".join([example.instruction, example.input, example.output, *(turn.content for turn in turns)])
    if _OFFENSIVE.search(text):
        return "offensive"
    # In an answer, it would end the turn early, and the training would refuse the whole set.
    answers = (example.output, *(turn.content for turn in turns if turn.role == "assistant"))
    return "control token" if any(escape_known_control_tokens(answer) != answer for answer in answers) else None


def _sort_by_id(table: pa.Table) -> pa.Table:
    """Sorts part by part, because sorting a whole table copies it twice, and fails beyond 2 GB of text."""
    parts = (table.filter(pc.starts_with(table["example_id"], first)) for first in _HEXADECIMAL)
    return pa.concat_tables([part.sort_by("example_id") for part in parts])
