"""Checks examples before training: the training prompt equals the inference prompt, answers end with a stop token, rows fit.

Records the result with the fingerprints of instruction set, base model, settings and prompt, and gates training on that record.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.prompts.prompt_contract import PromptContractError
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.tables.common_columns import Message
from fine_tune_assets.tables.record_classes import Record
from fine_tune_assets.tables.training_rows import ExampleLength, TrainingPreflight
from fine_tune_assets.training.supervision.loss_mask import MAX_LISTED_IDS, SupervisedRow, require_rows_fit, supervise


class PreflightError(GateClosedError):
    """Training may not start: the preflight is missing, is for another training, or found errors."""


class Conversation(Record):
    """A row of an instruction set."""

    example_id: str
    split: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class InspectedRow:
    example_id: str
    split: str
    row: SupervisedRow | None
    """None if there is a fault."""
    fault: str | None = None

    @property
    def tokens(self) -> int | None:
        return None if self.row is None else len(self.row.input_ids)

    def fits(self, max_length: int) -> bool:
        return self.tokens is not None and self.tokens <= max_length

    def as_record(self, max_length: int) -> ExampleLength:
        return ExampleLength(
            example_id=self.example_id,
            split=self.split,
            tokens=self.tokens,
            supervised_tokens=self.row.supervised_tokens if self.row else None,
            fits=self.fits(max_length),
            turns=self.row.turns if self.row else None,
            supervised_turns=self.row.supervised_turns if self.row else None,
            error=self.fault,
        )


def inspect_rows(rows: Iterable[Conversation], tokenizer: Any, stop_ids: Collection[int]) -> Iterator[InspectedRow]:
    """Each row as the trainer would build it, or with its fault."""
    for row in rows:
        messages = [message.to_row() for message in row.messages]
        try:
            supervised = supervise(tokenizer, row.example_id, messages, stop_ids)
        except PromptContractError as error:
            yield InspectedRow(row.example_id, row.split, None, error.reason)
        else:
            yield InspectedRow(row.example_id, row.split, supervised)


def make_preflight(
    lengths: Sequence[ExampleLength], settings: TrainingSettings, bound: Mapping[str, str]
) -> TrainingPreflight:
    """The record of one preflight. `bound`: fingerprints of what was checked."""
    training_rows = [row for row in lengths if row.split != "test"]
    too_long, faults = list_too_long(lengths), [row for row in lengths if row.error]
    return TrainingPreflight(
        **bound,
        row_count=len(training_rows),
        trained_row_count=sum(row.fits for row in training_rows),
        error_count=len(faults),
        too_long_count=len(too_long),
        too_long_policy=settings.overlong_examples,
        supervised_tokens=sum(row.supervised_tokens or 0 for row in training_rows if row.fits and row.split == "train"),
        is_passed=not faults and (not too_long or settings.overlong_examples == "exclude"),
    )


def list_too_long(lengths: Iterable[ExampleLength]) -> list[str]:
    """Ids of overlong examples in train and validation; test examples are not trained on."""
    return [row.example_id for row in lengths if row.split != "test" and not row.fits and not row.error]


def require_preflight(
    preflights: Sequence[TrainingPreflight], lengths: Sequence[ExampleLength], *, max_length: int, **bound: str
) -> TrainingPreflight:
    """Gate: returns the record of exactly this set, base model and settings if it has no errors.

    `bound`: the fingerprints of these three. Raises PreflightError or TooLongError.
    """
    if len(preflights) != 1:
        raise PreflightError(f"No training preflight found. {materialize_hint('training_plans')}")
    record = preflights[0]
    mismatches = sorted(name for name, value in bound.items() if getattr(record, name) != value)
    if mismatches:
        raise PreflightError(
            f"The training preflight is for another {', '.join(name.removesuffix('_fingerprint') for name in mismatches)} than "
            f"{', '.join(short(bound[name]) for name in mismatches)}. {materialize_hint('training_plans')}"
        )
    faulty = [row.example_id for row in lengths if row.error]
    if faulty or record.error_count:
        raise PreflightError(
            f"{record.error_count} examples fail the preflight: {', '.join(faulty[:MAX_LISTED_IDS])}. "
            "The column error of example_lengths states why. Repair or reject them."
        )
    require_rows_fit(list_too_long(lengths), record.too_long_policy, max_length)
    if not record.is_passed:
        raise PreflightError(f"The training preflight did not pass. {materialize_hint('training_plans')}")
    return record


def require_rows_trained(lengths: Sequence[ExampleLength], excluded_ids: Collection[str]) -> None:
    """After training, verify that the trainer excluded exactly the announced examples. Raises PreflightError."""
    mismatches = sorted(set(list_too_long(lengths)).symmetric_difference(excluded_ids))
    if mismatches:
        raise PreflightError(
            f"The trainer did not exclude the examples that the preflight announced; {len(mismatches)} differ: "
            f"{', '.join(mismatches[:MAX_LISTED_IDS])}. The adapter is not used."
        )
