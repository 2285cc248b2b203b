"""Checks a finished instruction set for leakage, and says in words what was checked.

Owns the check and its wording. Works from the table alone, not from how it was built, so that it also finds a fault in
the building. Exact repetition only: a paraphrase is not found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from fine_tune_assets.core.tables import INSTRUCTION_SETS, check_table
from fine_tune_assets.instructions.splitting import SPLITS


@dataclass(frozen=True)
class LeakageCertificate:
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

    @property
    def paragraph(self) -> str:
        """For an auditor who does not program."""
        sizes = ", ".join(f"{self.rows[split]} {split}" for split in SPLITS)
        return (
            f"The set holds {sizes} examples of {self.patients} patients. "
            f"Patients with examples in more than one split: {self.patients_in_two_splits}. "
            f"Questions, with their input, that occur in more than one split: {self.inputs_in_two_splits}. "
            f"General examples outside the train split: {self.general_outside_train}. "
            f"Examples without a patient that are not general: {self.rows_without_patient}. "
            + (
                "No example that the model is tested on, and no patient of one, was used to train it."
                if self.holds
                else "The separation of training and test data is NOT shown: this set must not be used."
            )
        )


def leakage_certificate(table: pa.Table) -> LeakageCertificate:
    """Check an INSTRUCTION_SETS table."""
    check_table(table, INSTRUCTION_SETS)
    splits = table.column("split").to_pylist()
    patients = table.column("patient_key").to_pylist()
    general = table.column("is_general").to_pylist()
    questions = (_question(messages.as_py()) for messages in table.column("messages"))
    return LeakageCertificate(
        rows={name: splits.count(name) for name in SPLITS},
        patients=len({patient for patient in patients if patient is not None}),
        patients_in_two_splits=_in_two((p, s) for p, s in zip(patients, splits, strict=True) if p is not None),
        inputs_in_two_splits=_in_two(zip(questions, splits, strict=True)),
        general_outside_train=sum(g and s != "train" for g, s in zip(general, splits, strict=True)),
        rows_without_patient=sum(p is None and not g for p, g in zip(patients, general, strict=True)),
    )


def _question(messages: list[dict[str, str]]) -> str:
    turns = (message["content"] for message in messages if message["role"] == "user")
    return " ".join("\n".join(turns).casefold().split())


def _in_two(pairs: Iterable[tuple[str, str]]) -> int:
    seen: dict[str, set[str]] = {}
    for value, split in pairs:
        seen.setdefault(value, set()).add(split)
    return sum(len(found) > 1 for found in seen.values())
