"""The leakage certificate: checks a finished instruction set for leakage and describes what was checked.

The check uses the finished rows only, so that it also detects errors of the build. The certificate states the search method and
with it what the search can miss.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.core.prompts.retrieval_contract import strip_passages
from fine_tune_assets.instructions.assembly import InstructionSet
from fine_tune_assets.instructions.leakage import EVALUATION, Kind, LeakSearch, compared_rows, find_leaks
from fine_tune_assets.instructions.set_examples import ExampleText
from fine_tune_assets.instructions.splits import SPLITS
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.record_classes import check_table, iter_records

SEMANTIC: Kind = "semantic"


@dataclass(frozen=True)
class SplitSeparation:
    """Separation of the splits by subject and exact input, without a similarity search."""

    rows: dict[str, int]
    """Split → examples."""
    subjects: int
    subjects_in_two_splits: int
    inputs_in_two_splits: int
    """Questions with input, ignoring case and whitespace."""
    general_outside_train: int
    rows_without_subject: int
    """Examples without a subject that are not general; their separation can't be shown."""

    @property
    def is_clean(self) -> bool:
        """False also if a split is empty."""
        faults = (
            self.subjects_in_two_splits,
            self.inputs_in_two_splits,
            self.general_outside_train,
            self.rows_without_subject,
        )
        return not any(faults) and all(self.rows[split] for split in SPLITS)


@dataclass(frozen=True)
class LeakageCertificate:
    separation: SplitSeparation
    kinds: tuple[Kind, ...]
    """Kinds of duplicates searched for between splits."""
    duplicates: dict[str, int]
    """Kind → duplicate pairs between splits."""
    evaluation_texts: int
    evaluation_repeats: int
    """Exact and near duplicates between training or validation examples and evaluation questions."""
    mismatched_rows: int
    """Rows whose conversation differs from the compared parts."""
    search_description: str | None
    """The search method. None: no search, and then the certificate is invalid."""
    rows_with_passages: int = 0
    """Rows that were compared without the passages that precede their question."""

    @property
    def is_valid(self) -> bool:
        faults = (*self.duplicates.values(), self.evaluation_repeats, self.mismatched_rows)
        is_searched = self.search_description is not None and SEMANTIC in self.kinds
        return self.separation.is_clean and is_searched and not any(faults) and self.evaluation_texts > 0

    @property
    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        figures = {**asdict(self), "is_valid": self.is_valid}
        # Omitted if 0, so that the fingerprints of sets without passages stay the same.
        return figures if self.rows_with_passages else {n: v for n, v in figures.items() if n != "rows_with_passages"}

    @property
    def paragraph(self) -> str:
        """The certificate as text for an auditor."""
        shown = self.separation
        sizes = ", ".join(f"{shown.rows[split]} {split}" for split in SPLITS)
        return (
            f"The set contains {sizes} examples of {shown.subjects} subjects. "
            f"Subjects with examples in more than one split: {shown.subjects_in_two_splits}. "
            f"Questions with input that occur in more than one split: {shown.inputs_in_two_splits}. "
            f"General examples outside the train split: {shown.general_outside_train}. "
            f"Examples without a subject that are not general: {shown.rows_without_subject}. "
            f"{self._similarity_text} "
            f"{self._conclusion}"
        )

    @property
    def _conclusion(self) -> str:
        if not self.is_valid:
            return "The separation of training and test data is NOT shown. Do not use this set."
        return "No test example and no subject of a test example is in the training data."

    @property
    def _similarity_text(self) -> str:
        if self.search_description is None:
            return "Duplicates were NOT searched for."
        counts = ", ".join(f"{kind} {count}" for kind, count in self.duplicates.items())
        return (
            f"Duplicate pairs between splits, by input or whole example: {counts}. "
            f"{self._semantic_text}"
            f"{self._passages_text}"
            f"Training and validation examples that repeat one of {self.evaluation_texts} evaluation questions, exactly or "
            f"nearly: {self.evaluation_repeats}. Search: {self.search_description}. Less similar texts are not detected."
        )

    @property
    def _passages_text(self) -> str:
        if not self.rows_with_passages:
            return ""
        return f"{self.rows_with_passages} examples were compared without the document passages that precede their question. "

    @property
    def _semantic_text(self) -> str:
        return "" if SEMANTIC in self.kinds else "Paraphrases were NOT searched for. "


def check_separation(table: pa.Table) -> SplitSeparation:
    """Check the separation in a table of `InstructionRow` rows."""
    check_table(table, InstructionRow.SCHEMA)
    splits = table.column("split").to_pylist()
    subjects = table.column("subject_key").to_pylist()
    general = table.column("is_general").to_pylist()
    questions = (_question(messages.as_py()) for messages in table.column("messages"))
    return SplitSeparation(
        rows={name: splits.count(name) for name in SPLITS},
        subjects=len({subject for subject in subjects if subject is not None}),
        subjects_in_two_splits=_count_in_two_splits(
            (p, s) for p, s in zip(subjects, splits, strict=True) if p is not None
        ),
        inputs_in_two_splits=_count_in_two_splits(zip(questions, splits, strict=True)),
        general_outside_train=sum(g and s != "train" for g, s in zip(general, splits, strict=True)),
        rows_without_subject=sum(p is None and not g for p, g in zip(subjects, general, strict=True)),
    )


def issue_certificate(finished: InstructionSet, search: LeakSearch | None) -> LeakageCertificate:
    """Check a finished set. Without a search the certificate is invalid."""
    examples = list(iter_records(ExampleText, finished.examples))
    mismatched_rows = abs(len(examples) - finished.table.num_rows) + sum(
        not _matches_conversation(messages.as_py(), example)
        for messages, example in zip(finished.table.column("messages"), examples, strict=False)
    )
    kinds = search.kinds if search else ()
    counts: Counter[str] = Counter(dict.fromkeys(kinds, 0))
    if search is not None:
        counts.update(
            EVALUATION if leak.kept.group == EVALUATION else leak.kind
            for leak in find_leaks(
                [row for example in examples for row in compared_rows(example, example.split)], search
            )
        )
    return LeakageCertificate(
        separation=check_separation(finished.table),
        kinds=kinds,
        evaluation_repeats=counts.pop(EVALUATION, 0),
        duplicates=dict(counts),
        evaluation_texts=len(search.evaluation) if search else 0,
        mismatched_rows=mismatched_rows,
        search_description=search.description if search else None,
        rows_with_passages=sum(bool(strip_passages(one.instruction, one.input).documents) for one in examples),
    )


def _matches_conversation(messages: list[dict[str, str]], example: ExampleText) -> bool:
    return messages == build_conversation(
        messages[0]["content"], example.instruction, example.input, example.output, example.history_messages
    )


def _question(messages: list[dict[str, str]]) -> str:
    turns = (message["content"] for message in messages if message["role"] == "user")
    return " ".join("\n".join(turns).casefold().split())


def _count_in_two_splits(pairs: Iterable[tuple[str, str]]) -> int:
    seen: dict[str, set[str]] = {}
    for value, split in pairs:
        seen.setdefault(value, set()).add(split)
    return sum(len(found) > 1 for found in seen.values())
