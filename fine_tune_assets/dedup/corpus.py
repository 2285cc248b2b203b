"""Reports of many batches, as far as comparing them needs them, with what is kept of earlier runs.

Owns what is held in memory: ids, lengths, dates, patients and the hashes of segments, some hundred bytes a report. Texts
are let go after they were sketched; shingles stay where they are kept, and are read batch by batch. Does not compare.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.dedup.retained_reports import WRITTEN_ON
from fine_tune_assets.dedup.sketches import VERSION, Sketches, starts_of
from fine_tune_assets.dedup.store import SKETCHES, Arrays, Kept
from fine_tune_assets.dedup.words import Ints
from fine_tune_assets.dedup.workers import Sketchers
from fine_tune_assets.tables.columns import one_array

_FACTS = ["report_id", "patient_key", "length", WRITTEN_ON]
_LIGHT = tuple(f.name for f in fields(Sketches) if f.name != "shingles")


@dataclass(frozen=True)
class Batch:
    name: str
    version: str
    """Of its content and of how it is sketched."""
    facts: pa.Table
    """`report_id`, `patient_key`, `length` and `written_on`."""
    sketches: Sketches
    """Without shingles."""

    def __len__(self) -> int:
        return self.facts.num_rows


class Corpus:
    """Add every batch once, in any order; then ask."""

    def __init__(self, kept: Kept, sketchers: Sketchers) -> None:
        self.kept = kept
        self.batches: list[Batch] = []
        self.made: Counter[str] = Counter()
        """What had to be computed, since it was not kept: `sketches`, `signatures`, `vectors`."""
        self._sketchers = sketchers

    def add(self, name: str, reports: pa.Table) -> None:
        """A table with `report_id`, `patient_key`, `length`, `tagged_text` and `written_on`, in order of ids."""
        # Without surrogates, which differ from patient to patient where one note was copied to several.
        texts = one_array(reports["tagged_text"])
        version = combine([VERSION, _content(one_array(reports["report_id"]), texts)])
        arrays = self.kept.read(name, SKETCHES, version, _LIGHT)
        if arrays is None:
            sketches = self._sketchers.sketch(texts)
            whole = {f.name: getattr(sketches, f.name) for f in fields(Sketches)}
            self.kept.write(name, SKETCHES, version, whole)
            arrays = {key: whole[key] for key in _LIGHT}
            self.made["sketches"] += len(sketches)
        light = Sketches(**arrays, shingles=np.zeros(0, np.uint64))
        self.batches.append(Batch(name, version, reports.select(_FACTS).combine_chunks(), light))

    @cached_property
    def facts(self) -> pa.Table:
        """Of all reports, batch by batch: a row's number is the report's place."""
        return pa.concat_tables([batch.facts for batch in self.batches])

    @cached_property
    def starts(self) -> Ints:
        """The place of each batch's first report; the number of all at the end."""
        return starts_of(np.array([len(batch) for batch in self.batches], dtype=np.int64))

    def all_of(self, name: str) -> np.ndarray:
        """One array of the sketches, of all reports."""
        return np.concatenate([getattr(batch.sketches, name) for batch in self.batches])

    def whole_sketches(self, batch: Batch) -> Sketches:
        """With their shingles."""
        return Sketches(**self.read_kept(batch, SKETCHES, batch.version))

    def read_kept(self, batch: Batch, what: str, version: str) -> Arrays:
        """Arrays that this run has written or found."""
        arrays = self.kept.read(batch.name, what, version)
        if arrays is None:
            raise RuntimeError("What was kept of a batch went while it was compared.")
        return arrays

    def with_places(self) -> Iterator[tuple[Batch, Ints]]:
        for number, batch in enumerate(self.batches):
            yield batch, np.arange(self.starts[number], self.starts[number + 1])


def _content(ids: pa.Array, texts: pa.Array) -> str:
    digest = hashlib.sha256()
    for array in (ids, texts):
        # Lengths, then characters, without what a slice leaves around them.
        digest.update(np.asarray(pc.binary_length(array), dtype=np.int64).tobytes())
        digest.update(hashlib.sha256(_characters(array)).digest())
    return digest.hexdigest()


def _characters(array: pa.Array) -> memoryview:
    _, offsets, characters = array.buffers()
    places = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(characters)[places[0] : places[-1]] if characters and len(places) else memoryview(b"")
