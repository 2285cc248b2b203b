"""Holds what a comparison needs of the reports of many batches, including results stored by earlier runs.

Memory holds ids, lengths, dates, subjects and segment hashes, a few hundred bytes per report. Texts are released after sketching;
shingles stay on disk and are read batch by batch.
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
from fine_tune_assets.dedup.sketch_store import SKETCHES, Arrays, ArrayStore
from fine_tune_assets.dedup.sketch_workers import SketchPool
from fine_tune_assets.dedup.sketches import VERSION, Sketches, offsets_from_counts
from fine_tune_assets.dedup.word_hashes import Ints
from fine_tune_assets.tables.row_selection import to_single_array

_FACT_COLUMNS = ["report_id", "subject_key", "length", WRITTEN_ON]
_IN_MEMORY_FIELDS = tuple(f.name for f in fields(Sketches) if f.name != "shingles")


@dataclass(frozen=True)
class Batch:
    name: str
    version: str
    """Depends on the content and on how it is sketched."""
    facts: pa.Table
    """`report_id`, `subject_key`, `length` and `written_on`."""
    sketches: Sketches
    """Without shingles."""

    def __len__(self) -> int:
        return self.facts.num_rows


class Corpus:
    """Add every batch once, in any order, before querying."""

    def __init__(self, store: ArrayStore, sketch_pool: SketchPool) -> None:
        self.store = store
        self.batches: list[Batch] = []
        self.computed: Counter[str] = Counter()
        """Number of reports for which nothing was stored, by kind: `sketches`, `signatures`, `vectors`."""
        self._sketch_pool = sketch_pool

    def add(self, name: str, reports: pa.Table) -> None:
        """A table with `report_id`, `subject_key`, `length`, `tagged_text` and `written_on`, sorted by id."""
        # Tagged texts have no surrogates, which differ between subjects even if one note was copied.
        texts = to_single_array(reports["tagged_text"])
        version = combine([VERSION, _content_hash(to_single_array(reports["report_id"]), texts)])
        arrays = self.store.read(name, SKETCHES, version, _IN_MEMORY_FIELDS)
        if arrays is None:
            sketches = self._sketch_pool.sketch(texts)
            stored = {f.name: getattr(sketches, f.name) for f in fields(Sketches)}
            self.store.write(name, SKETCHES, version, stored)
            arrays = {key: stored[key] for key in _IN_MEMORY_FIELDS}
            self.computed["sketches"] += len(sketches)
        light = Sketches(**arrays, shingles=np.zeros(0, np.uint64))
        self.batches.append(Batch(name, version, reports.select(_FACT_COLUMNS).combine_chunks(), light))

    @cached_property
    def facts(self) -> pa.Table:
        """Facts of all reports, batch by batch; a row's number is the report's place."""
        return pa.concat_tables([batch.facts for batch in self.batches])

    @cached_property
    def starts(self) -> Ints:
        """Place of each batch's first report, and the total number at the end."""
        return offsets_from_counts(np.array([len(batch) for batch in self.batches], dtype=np.int64))

    def concatenate(self, name: str) -> np.ndarray:
        """Concatenate one array of the sketches over all reports."""
        return np.concatenate([getattr(batch.sketches, name) for batch in self.batches])

    def load_sketches(self, batch: Batch) -> Sketches:
        """Load the sketches with their shingles."""
        return Sketches(**self.load_arrays(batch, SKETCHES, batch.version))

    def load_arrays(self, batch: Batch, what: str, version: str) -> Arrays:
        """Load arrays that this run has written or found."""
        arrays = self.store.read(batch.name, what, version)
        if arrays is None:
            raise RuntimeError("Stored arrays of a batch disappeared during the comparison.")
        return arrays

    def batches_with_positions(self) -> Iterator[tuple[Batch, Ints]]:
        for number, batch in enumerate(self.batches):
            yield batch, np.arange(self.starts[number], self.starts[number + 1])


def _content_hash(ids: pa.Array, texts: pa.Array) -> str:
    digest = hashlib.sha256()
    for array in (ids, texts):
        # Lengths, then characters, ignoring data outside a slice.
        digest.update(np.asarray(pc.binary_length(array), dtype=np.int64).tobytes())
        digest.update(hashlib.sha256(_characters(array)).digest())
    return digest.hexdigest()


def _characters(array: pa.Array) -> memoryview:
    _, offsets, characters = array.buffers()
    places = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(characters)[places[0] : places[-1]] if characters and len(places) else memoryview(b"")
