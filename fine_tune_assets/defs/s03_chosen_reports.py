"""Stage 3, which scrubbed reports are compared at all: those that the present scrubber left and that nothing holds back.

Belongs here: what is asked of a batch before its texts are read. Must stay out: duplicates.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.stored_tables import StoredTable
from fine_tune_assets.phi.missed_terms import Terms, holds_missed_terms


@dataclass(frozen=True)
class ChosenReports:
    """The reports of a batch that go on."""

    batch: StoredTable
    is_chosen: pa.BooleanArray
    stored: int
    present: int
    """Of these the present scrubber left so many."""

    @property
    def count(self) -> int:
        return self.is_chosen.true_count

    def select(self, names: Sequence[str]) -> pa.Table:
        table = self.batch.select(names)
        return table if self.count == self.stored else table.filter(self.is_chosen)


def choose_reports(
    batches: Mapping[str, StoredTable], scrubber: str, terms: Terms, taken: Collection[str]
) -> dict[str, ChosenReports]:
    """By batch. `taken`: batches with surrogates that occur in a report since; they choose others by themselves, and are
    compared then."""
    return {name: _choose(batch, scrubber, terms, taken) for name, batch in batches.items()}


def _choose(batch: StoredTable, scrubber: str, terms: Terms, taken: Collection[str]) -> ChosenReports:
    facts = batch.select(["batch", "scrubber_version", "patient_key"])
    # What an earlier scrubber left stays behind: a rule that was added for a leak is of no use otherwise.
    is_present = pc.equal(facts["scrubber_version"], scrubber)
    texts = [batch.select(["tagged_text"])["tagged_text"]] if terms else []
    held_back = holds_missed_terms(facts["patient_key"], texts, terms)
    is_taken = pc.is_in(facts["batch"], pa.array(sorted(taken), pa.string()))
    chosen = pc.and_(is_present, pc.invert(pc.or_(held_back, is_taken)))
    return ChosenReports(batch, _as_array(chosen), facts.num_rows, pc.sum(is_present).as_py() or 0)


def _as_array(flags: pa.ChunkedArray) -> pa.BooleanArray:
    return pa.concat_arrays(flags.chunks) if flags.num_chunks else pa.array([], pa.bool_())
