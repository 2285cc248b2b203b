"""Answers that the judge graded last, as spot-checks need them: which there are, and their texts.

Owns when the table is read again, which is whenever it is another file; that each text is read for its page and not kept; and
that a table or a set which is being replaced is as good as none. Ids and grades only are kept.
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
from fine_tune_assets.judging.judges.spot_checks import JudgedAnswer, sample
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.spot_checks import answer_id_of
from fine_tune_assets.lineage.instruction_sets import KnownSets, SetFolder
from fine_tune_assets.lineage.trainings import list_trainings

_READ = ("example_id", "patient_key", "model_fingerprint", "adapter_id", "answer", "score")
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Judged:
    """The answers of one comparison, without their texts. Each reading of the table is another one."""

    instruction_set: str
    """Fingerprint of the set whose examples were answered."""
    answers: Mapping[str, JudgedAnswer]
    """By their ids."""


@dataclass(frozen=True)
class Exchange:
    """What was asked and what was answered: all that a rater is shown."""

    question: str
    answer: str


class JudgedAnswers:
    """Safe to share between threads."""

    def __init__(self, layout: Layout, ledger: Ledger, known_sets: KnownSets) -> None:
        self._layout, self._ledger, self._known_sets = layout, ledger, known_sets
        self._lock = threading.Lock()
        self._known: tuple[_Stamp, Judged] | None = None
        self._sampled: tuple[Judged, int, str, list[JudgedAnswer]] | None = None

    def latest(self) -> Judged | None:
        """None while nothing was judged, or nobody can tell on which set."""
        path = self._layout.table("judge_scores")
        try:
            with self._lock:
                stamp = _stamp(path)
                if self._known is None or self._known[0] != stamp:
                    found = self._read(path)
                    self._known = None if found is None else (stamp, found)
                return None if self._known is None else self._known[1]
        except (OSError, pa.ArrowInvalid):
            return None

    def to_rate(self, judged: Judged, size: int, seed: str) -> list[JudgedAnswer]:
        """The sample that every rater is asked about, whatever may be shown of it now."""
        with self._lock:
            if self._sampled is None or self._sampled[:3] != (judged, size, seed):
                self._sampled = (judged, size, seed, sample(judged.answers.values(), size, seed))
            return self._sampled[3]

    def set_of(self, judged: Judged) -> SetFolder | None:
        """The set as it is now: a tombstone, if somebody in it was erased."""
        name = short(judged.instruction_set)
        return next((found for found in self._known_sets.folders() if found.folder.name == name), None)

    def exchange(self, judged: Judged, answer: JudgedAnswer) -> Exchange | None:
        """The texts; None if one of them is not there any more."""
        asked = self._layout.instruction_sets / short(judged.instruction_set) / "instruction_set.parquet"
        conversations = _values(asked, "messages", answer.example_id)
        answers = _values(self._layout.table("judge_scores"), "answer", answer.example_id)
        text = next((text for text in answers if fingerprint_text(text) == answer.answer_fingerprint), None)
        if not conversations or text is None:
            return None
        # Without the last turn, which is the reference: whoever has seen it compares with it.
        question = [turn["content"] for turn in conversations[0][:-1] if turn["role"] != "system"]
        return Exchange("\n\n".join(question), text)

    def _read(self, path: Path) -> Judged | None:
        columns = pq.read_table(path, columns=list(_READ), partitioning=None).to_pydict()
        adapters = set(columns["adapter_id"])
        fingerprint = self._set_of_adapter(adapters.pop()) if len(adapters) == 1 else None
        if fingerprint is None:
            return None
        tasks = self._tasks(fingerprint)
        answers: dict[str, JudgedAnswer] = {}
        for example_id, patient, model, text, score in zip(
            *(columns[name] for name in ("example_id", "patient_key", "model_fingerprint", "answer", "score")),
            strict=True,
        ):
            answered = fingerprint_text(text)
            answer_id = answer_id_of(example_id, answered)
            grade = score if score is not None and math.isfinite(score) else None
            made = JudgedAnswer(answer_id, example_id, tasks.get(example_id, ""), model, answered, patient, grade)
            answers.setdefault(answer_id, made)
        return Judged(fingerprint, answers)

    def _set_of_adapter(self, adapter_id: str) -> str | None:
        """The set that the candidate was trained on, whose test examples are those that were answered."""
        path = self._layout.table("adapters")
        newest = pq.read_table(path, columns=["adapter_id", "instruction_set_fingerprint"]) if path.is_file() else None
        for row in newest.to_pylist() if newest is not None else ():
            if row["adapter_id"] == adapter_id:
                return str(row["instruction_set_fingerprint"])
        trainings = list_trainings(self._layout, self._ledger)
        return next((t.instruction_set_fingerprint for t in trainings if t.adapter_id == adapter_id), None)

    def _tasks(self, fingerprint: str) -> dict[str, str]:
        found = next((f for f in self._known_sets.folders() if f.folder.name == short(fingerprint)), None)
        if found is None:
            return {}
        rows = found.known_rows if found.known_rows is not None else found.all_rows()
        return dict(zip(rows["example_id"].to_pylist(), rows["task"].to_pylist(), strict=True))


def _values(path: Path, column: str, example_id: str) -> list[Any]:
    """The column's value in each row of the example."""
    try:
        found = pq.read_table(path, columns=[column], filters=[("example_id", "=", example_id)], partitioning=None)
    except (OSError, pa.ArrowInvalid):
        # Replaced or removed while it was read. Without its cause, which may quote a text.
        return []
    return list(found[column].to_pylist())


def _stamp(path: Path) -> _Stamp:
    facts = path.stat()
    return (facts.st_mtime_ns, facts.st_size, facts.st_ino)
