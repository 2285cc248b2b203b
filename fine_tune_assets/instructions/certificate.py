"""Checks a finished instruction set for leakage, and says in words what was checked and how.

Owns the check and its wording. Works from the finished rows alone, not from how they were built, so that it also finds a fault
in the building. What is looked for, and so what can be missed, is said in the certificate itself.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.prompts.chat import conversation
from fine_tune_assets.core.prompts.retrieval_contract import bare_question
from fine_tune_assets.instructions.assembly import InstructionSet
from fine_tune_assets.instructions.leaks import EVALUATION, Kind, LeakSearch, compared, find_leaks
from fine_tune_assets.instructions.set_examples import ExampleText
from fine_tune_assets.instructions.splits import SPLITS
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.records import check_table, records_of

SEMANTIC: Kind = "semantic"


@dataclass(frozen=True)
class Separation:
    """What the table itself shows, without looking for likeness."""

    rows: dict[str, int]
    """Split → examples."""
    patients: int
    patients_in_two_splits: int
    inputs_in_two_splits: int
    """Questions with their input, without regard to case and whitespace."""
    general_outside_train: int
    rows_without_patient: int
    """Examples that are not general and name no patient: nothing can be shown about them."""

    @property
    def holds(self) -> bool:
        """False also for a set in which a split is empty: nothing is shown about what is not there."""
        faults = (
            self.patients_in_two_splits,
            self.inputs_in_two_splits,
            self.general_outside_train,
            self.rows_without_patient,
        )
        return not any(faults) and all(self.rows[split] for split in SPLITS)


@dataclass(frozen=True)
class LeakageCertificate:
    separation: Separation
    kinds: tuple[Kind, ...]
    """Kinds of likeness that were looked for between splits."""
    duplicates: dict[str, int]
    """Each of these kinds → pairs of examples in two splits that say the same."""
    evaluation_texts: int
    evaluation_repeated: int
    """Pairs of a training or validation example and an evaluation question that are the same, exactly or nearly."""
    rows_told_otherwise: int
    """Rows whose conversation is not made of the parts that were compared."""
    looked_for: str | None
    """How likeness was looked for. None: not at all, and then nothing is certified."""
    rows_with_passages: int = 0
    """Rows that were compared without the passages before their question."""

    @property
    def holds(self) -> bool:
        faults = (*self.duplicates.values(), self.evaluation_repeated, self.rows_told_otherwise)
        is_searched = self.looked_for is not None and SEMANTIC in self.kinds
        return self.separation.holds and is_searched and not any(faults) and self.evaluation_texts > 0

    @property
    def figures(self) -> dict[str, Any]:
        """For the manifest."""
        figures = {**asdict(self), "holds": self.holds}
        # A set without any is what it was before there were any.
        return figures if self.rows_with_passages else {n: v for n, v in figures.items() if n != "rows_with_passages"}

    @property
    def paragraph(self) -> str:
        """For an auditor who does not program."""
        shown = self.separation
        sizes = ", ".join(f"{shown.rows[split]} {split}" for split in SPLITS)
        return (
            f"The set holds {sizes} examples of {shown.patients} patients. "
            f"Patients with examples in more than one split: {shown.patients_in_two_splits}. "
            f"Questions, with their input, that occur in more than one split: {shown.inputs_in_two_splits}. "
            f"General examples outside the train split: {shown.general_outside_train}. "
            f"Examples without a patient that are not general: {shown.rows_without_patient}. "
            f"{self._told_of_likeness} "
            f"{self._conclusion}"
        )

    @property
    def _conclusion(self) -> str:
        if not self.holds:
            return "The separation of training and test data is NOT shown: this set must not be used."
        return "No example that the model is tested on, and no patient of one, was used to train it."

    @property
    def _told_of_likeness(self) -> str:
        if self.looked_for is None:
            return "Nobody looked for examples that say the same in other words."
        counts = ", ".join(f"{kind} {count}" for kind, count in self.duplicates.items())
        return (
            f"Pairs of examples in two splits whose input or whole says the same: {counts}. "
            f"{self._told_of_meaning}"
            f"{self._told_of_passages}"
            f"Training and validation examples that repeat one of {self.evaluation_texts} evaluation questions, exactly or "
            f"nearly: {self.evaluation_repeated}. Looked for: {self.looked_for}. What is less alike than that is not found."
        )

    @property
    def _told_of_passages(self) -> str:
        if not self.rows_with_passages:
            return ""
        return f"{self.rows_with_passages} examples were compared without the passages of documents before their question. "

    @property
    def _told_of_meaning(self) -> str:
        return "" if SEMANTIC in self.kinds else "Examples that say the same in other words were NOT looked for. "


def separation(table: pa.Table) -> Separation:
    """Check a table of `InstructionRow` rows by itself."""
    check_table(table, InstructionRow.SCHEMA)
    splits = table.column("split").to_pylist()
    patients = table.column("patient_key").to_pylist()
    general = table.column("is_general").to_pylist()
    questions = (_question(messages.as_py()) for messages in table.column("messages"))
    return Separation(
        rows={name: splits.count(name) for name in SPLITS},
        patients=len({patient for patient in patients if patient is not None}),
        patients_in_two_splits=_in_two((p, s) for p, s in zip(patients, splits, strict=True) if p is not None),
        inputs_in_two_splits=_in_two(zip(questions, splits, strict=True)),
        general_outside_train=sum(g and s != "train" for g, s in zip(general, splits, strict=True)),
        rows_without_patient=sum(p is None and not g for p, g in zip(patients, general, strict=True)),
    )


def leakage_certificate(finished: InstructionSet, search: LeakSearch | None) -> LeakageCertificate:
    """Check a finished set. Without a search there is a certificate that does not hold, not a weaker one."""
    examples = list(records_of(ExampleText, finished.examples))
    told_otherwise = abs(len(examples) - finished.table.num_rows) + sum(
        not _is_told_so(messages.as_py(), example)
        for messages, example in zip(finished.table.column("messages"), examples, strict=False)
    )
    kinds = search.kinds if search else ()
    counts: Counter[str] = Counter(dict.fromkeys(kinds, 0))
    if search is not None:
        counts.update(
            EVALUATION if leak.keeper.group == EVALUATION else leak.kind
            for leak in find_leaks([*map(compared, examples)], search)
        )
    return LeakageCertificate(
        separation=separation(finished.table),
        kinds=kinds,
        evaluation_repeated=counts.pop(EVALUATION, 0),
        duplicates=dict(counts),
        evaluation_texts=len(search.evaluation) if search else 0,
        rows_told_otherwise=told_otherwise,
        looked_for=search.described if search else None,
        rows_with_passages=sum(bool(bare_question(one.instruction, one.input).documents) for one in examples),
    )


def _is_told_so(messages: list[dict[str, str]], example: ExampleText) -> bool:
    return messages == conversation(messages[0]["content"], example.instruction, example.input, example.output)


def _question(messages: list[dict[str, str]]) -> str:
    turns = (message["content"] for message in messages if message["role"] == "user")
    return " ".join("\n".join(turns).casefold().split())


def _in_two(pairs: Iterable[tuple[str, str]]) -> int:
    seen: dict[str, set[str]] = {}
    for value, split in pairs:
        seen.setdefault(value, set()).add(split)
    return sum(len(found) > 1 for found in seen.values())
