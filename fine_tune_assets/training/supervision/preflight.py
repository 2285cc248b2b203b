"""What has to be true of a set before a GPU is used: every example is asked as it is trained, stops where it should, and fits.

Owns looking through the examples, the record of it, and the gate that training passes. The record names exactly what was looked
through: instruction set, base model, training settings and prompt.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.prompts.prompt_contract import PromptContractError
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.tables.columns_in_common import Message
from fine_tune_assets.tables.records import Record
from fine_tune_assets.tables.training import ExampleLength, TrainingPreflight
from fine_tune_assets.training.supervision.loss_mask import NAMED_AT_MOST, SupervisedRow, require_rows_fit, supervise
from fine_tune_assets.training.supervision.training_templates import training_template

LAST_TURN = "last turn"
"""Without a training template only the last answer is learned."""


class PreflightError(GateClosedError):
    """Training may not start: nobody looked, what was looked at is another thing, or something is wrong with it."""


class Conversation(Record):
    """Of an instruction set."""

    example_id: str
    split: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class InspectedRow:
    example_id: str
    split: str
    row: SupervisedRow | None
    """None with a fault."""
    fault: str | None = None

    @property
    def tokens(self) -> int | None:
        return None if self.row is None else len(self.row.input_ids)

    def fits(self, max_length: int) -> bool:
        return self.tokens is not None and self.tokens <= max_length

    def length(self, max_length: int) -> ExampleLength:
        return ExampleLength(
            example_id=self.example_id,
            split=self.split,
            tokens=self.tokens,
            learned=self.row.supervised if self.row else None,
            fits=self.fits(max_length),
            turns=self.row.turns if self.row else None,
            learned_turns=self.row.learned_turns if self.row else None,
            fault=self.fault,
        )


def inspect_rows(rows: Iterable[Conversation], tokenizer: Any, stop_ids: Collection[int]) -> Iterator[InspectedRow]:
    """Each as the trainer would learn it, or with what is wrong with it."""
    for row in rows:
        messages = [message.as_row() for message in row.messages]
        try:
            supervised = supervise(tokenizer, row.example_id, messages, stop_ids)
        except PromptContractError as error:
            yield InspectedRow(row.example_id, row.split, None, error.reason)
        else:
            yield InspectedRow(row.example_id, row.split, supervised)


def masked_by(tokenizer: Any) -> str:
    found = training_template(tokenizer.chat_template, tokenizer.special_tokens_map)
    return LAST_TURN if found is None else found.name


def preflight_row(
    lengths: Sequence[ExampleLength], settings: TrainingSettings, bound: Mapping[str, str]
) -> TrainingPreflight:
    """The record of one preflight. `bound` says what was looked through."""
    learned = [row for row in lengths if row.split != "test"]
    long, faults = too_long(lengths), [row for row in lengths if row.fault]
    return TrainingPreflight(
        **bound,
        rows=len(learned),
        rows_trained=sum(row.fits for row in learned),
        faults=len(faults),
        too_long=len(long),
        too_long_rule=settings.too_long,
        supervised_tokens=sum(row.learned or 0 for row in learned if row.fits and row.split == "train"),
        is_clear=not faults and (not long or settings.too_long == "leave_out"),
    )


def too_long(lengths: Iterable[ExampleLength]) -> list[str]:
    """Ids of examples of train and validation that are longer than the limit; test examples are asked, not trained on."""
    return [row.example_id for row in lengths if row.split != "test" and not row.fits and not row.fault]


def require_preflight(
    preflights: Sequence[TrainingPreflight], lengths: Sequence[ExampleLength], *, max_length: int, **bound: str
) -> TrainingPreflight:
    """The gate: the record of exactly this set, base model and settings, and nothing wrong in it.

    `bound` has the record's fingerprints of these three. Returns the record. Raises PreflightError, TooLongError.
    """
    if len(preflights) != 1:
        raise PreflightError(f"No preflight of the examples found. {materialize_hint('training_preflights')}")
    record = preflights[0]
    other = sorted(name for name, value in bound.items() if getattr(record, name) != value)
    if other:
        raise PreflightError(
            f"The preflight is of another {', '.join(name.removesuffix('_fingerprint') for name in other)} than is to be trained "
            f"({', '.join(short(bound[name]) for name in other)}). {materialize_hint('training_preflights')}"
        )
    faulty = [row.example_id for row in lengths if row.fault]
    if faulty or record.faults:
        raise PreflightError(
            f"{record.faults} examples can't be trained on as they would be asked: {', '.join(faulty[:NAMED_AT_MOST])}. "
            "example_lengths says why; repair or reject them."
        )
    require_rows_fit(too_long(lengths), record.too_long_rule, max_length)
    if not record.is_clear:
        raise PreflightError(f"The preflight is not clear. {materialize_hint('training_preflights')}")
    return record


def require_rows_trained(lengths: Sequence[ExampleLength], left_out: Collection[str]) -> None:
    """After a training: what the trainer left out is what was announced. Raises PreflightError."""
    other = sorted(set(too_long(lengths)).symmetric_difference(left_out))
    if other:
        raise PreflightError(
            f"The trainer left out other examples than the preflight said; they differ in {len(other)}: "
            f"{', '.join(other[:NAMED_AT_MOST])}. Nothing of this adapter is used."
        )
