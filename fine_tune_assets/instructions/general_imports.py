"""Imports a data set as general data: a folder with `source.yaml`, `conversations.jsonl` and, for refused rows, `refused.csv`.

All or nothing: the folder appears when it is complete. Rows are written one after the other, so that memory does not grow.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from fine_tune_assets.core.files import atomic_folder, open_private_file, write_text
from fine_tune_assets.core.prompts.conversations import build_conversation, split_user_content
from fine_tune_assets.dataset_files.dataset_reader import Dataset
from fine_tune_assets.dataset_files.dataset_rows import Conversation, DatasetCounts, Refusal
from fine_tune_assets.instructions.general_data import BUNDLED_FOLDERS, SOURCE_FILE, GeneralDataError, list_sources
from fine_tune_assets.recipes.schema import BUNDLED, PREVIOUS_SET

CONVERSATIONS = "conversations.jsonl"
REFUSED = "refused.csv"
RESERVED_NAMES = BUNDLED_FOLDERS | {BUNDLED, PREVIOUS_SET}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class GeneralImport:
    """Where a data set is imported to, and what is recorded about it."""

    root: Path
    """The folder of general data."""
    name: str
    source: str
    licence: str

    @property
    def folder(self) -> Path:
        return self.root / self.name


def require_importable(wanted: GeneralImport) -> None:
    """Raise GeneralDataError unless name, source and licence can be used."""
    if not _NAME.fullmatch(wanted.name):
        raise GeneralDataError(
            f"{wanted.name} can't be the name of a folder. Use up to 64 of a-z, 0-9, _ and -, with a letter or digit first."
        )
    if wanted.name in RESERVED_NAMES:
        raise GeneralDataError(f"{wanted.name} names another source of the recipe's mix. Choose another --name.")
    if wanted.folder.exists():
        raise GeneralDataError(f"general/{wanted.name} exists. Choose another --name, or remove the folder first.")
    if not wanted.source or not wanted.licence:
        raise GeneralDataError("Source and licence need a text, such as `--licence CC-BY-4.0`.")
    for other in list_sources(wanted.root):
        if other.source == wanted.source and other.licence != wanted.licence:
            raise GeneralDataError(
                f"general/{other.folder.name} has the source {wanted.source} with another licence. Choose another --source."
            )


def require_conversations(counts: DatasetCounts) -> None:
    """Raise GeneralDataError if there is nothing to import."""
    if not counts.conversations:
        raise GeneralDataError(
            f"None of {counts.rows} rows is a conversation: {counts.preference_pairs} are preference pairs, which are not "
            f"imported yet, and {sum(counts.refused.values())} are refused. `fine-tune datasets check` counts the reasons."
        )


def import_general_data(dataset: Dataset, wanted: GeneralImport) -> DatasetCounts:
    """Write every conversation to the new folder. Raises GeneralDataError or DatasetError; then nothing is written."""
    require_importable(wanted)
    with atomic_folder(wanted.folder) as folder:
        counts = _write_rows(dataset, folder)
        require_conversations(counts)
        facts = {"source": wanted.source, "licence": wanted.licence, "format": "messages"}
        write_text(folder / SOURCE_FILE, yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))
        require_importable(wanted)  # another import may have ended meanwhile
    return counts


def _write_rows(dataset: Dataset, folder: Path) -> DatasetCounts:
    counts = DatasetCounts()
    with _text_file(folder / CONVERSATIONS) as conversations, _text_file(folder / REFUSED) as refused:
        table = csv.writer(refused)
        table.writerow(["file", "row", "reason"])
        for row in dataset.rows():
            counts.add(row)
            if isinstance(row.content, Conversation):
                conversations.write(json.dumps(_as_messages(row.content), ensure_ascii=False) + "\n")
            elif isinstance(row.content, Refusal):
                table.writerow([row.file, row.number, row.content.value])
    if not counts.refused:
        (folder / REFUSED).unlink()
    return counts


@contextmanager
def _text_file(path: Path) -> Iterator[IO[str]]:
    with open_private_file(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        yield text


def _as_messages(one: Conversation) -> dict[str, Any]:
    """A row in the format `messages`; `instruction` is added if it has several paragraphs."""
    history = [{"role": turn.role, "content": turn.content} for turn in one.history]
    messages = build_conversation(one.system or "", one.instruction, one.input, one.output, history)
    is_split = split_user_content(one.question) == (one.instruction, one.input)
    return {
        "messages": messages if one.system else messages[1:],
        **({} if is_split else {"instruction": one.instruction}),
        **({"kind": one.kind} if one.kind else {}),
    }
