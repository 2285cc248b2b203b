"""Reads the answers of the latest graded comparison for spot checks.

Caches ids and grades until the table's file changes. Texts are read for each page and never cached. A table or set that is being
replaced counts as missing.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.judging.judges.spot_check_sample import JudgedAnswer, draw_sample
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.spot_check_ratings import make_answer_id
from fine_tune_assets.lineage.set_history import SetCache, SetFolder
from fine_tune_assets.lineage.training_runs import list_training_runs

_COLUMNS = ("example_id", "subject_key", "model_fingerprint", "adapter_id", "answer", "score")
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class JudgedComparison:
    """The answers of one comparison, without texts. Compared by identity: each read of the table is a new one."""

    instruction_set: str
    """Fingerprint of the instruction set with the test examples."""
    answers: Mapping[str, JudgedAnswer]
    """Answer id → answer."""


@dataclass(frozen=True)
class Exchange:
    """Question and answer: everything that a rater sees."""

    question: str
    answer: str


@dataclass(frozen=True)
class Asked:
    """Question and approved answer of a test example."""

    question: str
    """Instruction and input."""
    reference: str


class JudgedAnswers:
    """Cached access to the latest graded comparison. Thread-safe."""

    def __init__(self, layout: Layout, ledger: Ledger, set_cache: SetCache) -> None:
        self._layout, self._ledger, self._set_cache = layout, ledger, set_cache
        self._lock = threading.Lock()
        self._cached: tuple[_Stamp, JudgedComparison] | None = None
        self._sampled: tuple[JudgedComparison, int, str, list[JudgedAnswer]] | None = None

    def latest(self) -> JudgedComparison | None:
        """None if nothing was graded, or if the instruction set is unknown."""
        path = self._layout.table("judge_scores")
        try:
            with self._lock:
                stamp = _read_stamp(path)
                if self._cached is None or self._cached[0] != stamp:
                    found = self._read(path)
                    self._cached = None if found is None else (stamp, found)
                return None if self._cached is None else self._cached[1]
        except (OSError, pa.ArrowInvalid):
            return None

    def select_sample(self, judged: JudgedComparison, size: int, seed: str) -> list[JudgedAnswer]:
        """The sample for all raters, including answers that may not be shown now."""
        with self._lock:
            if self._sampled is None or self._sampled[:3] != (judged, size, seed):
                self._sampled = (judged, size, seed, draw_sample(judged.answers.values(), size, seed))
            return self._sampled[3]

    def find_set(self, judged: JudgedComparison) -> SetFolder | None:
        """The current set; a tombstone if one of its subjects was erased."""
        name = short(judged.instruction_set)
        return next((found for found in self._set_cache.list_sets() if found.folder.name == name), None)

    def read_exchange(self, judged: JudgedComparison, answer: JudgedAnswer) -> Exchange | None:
        """The texts; None if one of them was removed."""
        question = self.read_question(judged, answer.example_id)
        answers = _read_values(self._layout.table("judge_scores"), "answer", answer.example_id)
        text = next((text for text in answers if fingerprint_text(text) == answer.answer_fingerprint), None)
        return None if question is None or text is None else Exchange(question, text)

    def read_question(self, judged: JudgedComparison, example_id: str) -> str | None:
        """Instruction and input, without the reference answer, which would bias a rater; None if they were removed."""
        asked = self.read_asked(judged, example_id)
        return None if asked is None else asked.question

    def read_asked(self, judged: JudgedComparison, example_id: str) -> Asked | None:
        """Question and approved answer; None if they were removed. Not for raters."""
        path = self._layout.instruction_sets / short(judged.instruction_set) / "instruction_set.parquet"
        conversations = _read_values(path, "messages", example_id)
        if not conversations:
            return None
        *turns, reference = conversations[0]
        question = "\n\n".join(turn["content"] for turn in turns if turn["role"] != "system")
        return Asked(question, reference["content"])

    def _read(self, path: Path) -> JudgedComparison | None:
        columns = pq.read_table(path, columns=list(_COLUMNS), partitioning=None).to_pydict()
        adapters = set(columns["adapter_id"])
        fingerprint = self._find_training_set(adapters.pop()) if len(adapters) == 1 else None
        if fingerprint is None:
            return None
        tasks = self._read_tasks(fingerprint)
        answers: dict[str, JudgedAnswer] = {}
        for example_id, subject_key, model, text, score in zip(
            *(columns[name] for name in ("example_id", "subject_key", "model_fingerprint", "answer", "score")),
            strict=True,
        ):
            answered = fingerprint_text(text)
            answer_id = make_answer_id(example_id, answered)
            grade = score if score is not None and math.isfinite(score) else None
            judged = JudgedAnswer(answer_id, example_id, tasks.get(example_id, ""), model, answered, subject_key, grade)
            answers.setdefault(answer_id, judged)
        return JudgedComparison(fingerprint, answers)

    def _find_training_set(self, adapter_id: str) -> str | None:
        """Fingerprint of the set that the candidate was trained on, and whose test examples were graded."""
        path = self._layout.table("adapters")
        newest = pq.read_table(path, columns=["adapter_id", "instruction_set_fingerprint"]) if path.is_file() else None
        for row in newest.to_pylist() if newest is not None else ():
            if row["adapter_id"] == adapter_id:
                return str(row["instruction_set_fingerprint"])
        trainings = list_training_runs(self._layout, self._ledger)
        return next((t.instruction_set_fingerprint for t in trainings if t.adapter_id == adapter_id), None)

    def _read_tasks(self, fingerprint: str) -> dict[str, str]:
        found = next((f for f in self._set_cache.list_sets() if f.folder.name == short(fingerprint)), None)
        if found is None:
            return {}
        rows = found.cached_rows if found.cached_rows is not None else found.read_rows()
        return dict(zip(rows["example_id"].to_pylist(), rows["task"].to_pylist(), strict=True))


def _read_values(path: Path, column: str, example_id: str) -> list[Any]:
    """The column's values in the rows of the example."""
    try:
        found = pq.read_table(path, columns=[column], filters=[("example_id", "=", example_id)], partitioning=None)
    except (OSError, pa.ArrowInvalid):
        return []  # the file was replaced or removed while it was read
    return list(found[column].to_pylist())


def _read_stamp(path: Path) -> _Stamp:
    status = path.stat()
    return (status.st_mtime_ns, status.st_size, status.st_ino)
