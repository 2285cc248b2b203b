"""Measure speed and memory of near-duplicate search on up to a million notes, and compare it with datasketch's MinHashLSH.

Notes are synthetic, with planted copies (`made_up_notes`). Each measurement runs in a separate process. datasketch gets the same
words, threshold and permutations, by `update` (one shingle at a time, as in its documentation) and by `update_batch`. It queries
each note before adding it, and keeps pairs whose estimated similarity reaches the threshold. Its default bands find fewer copies,
so a further run has equal recall: with our bands, and pairs selected by true similarity. Generating notes is not timed.
Our search is timed as stage 3 runs it without the encoder: from one Parquet file per batch, through the sketch store, to the
tables. The time to write the tables, and a second comparison that reuses the stored sketches, are reported separately.
"""

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from made_up_notes import EDITS, Notes, make_notes
from memory import PeakMemory
from rich.console import Console
from rich.table import Table
from upath import UPath

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.dedup.duplicate_search import compare_reports
from fine_tune_assets.dedup.duplicates import find_duplicates_in_batches, read_corpus
from fine_tune_assets.dedup.minhash import PERMUTATIONS, bands_for
from fine_tune_assets.dedup.report_reader import ReportBatches
from fine_tune_assets.dedup.sketch_store import ArrayStore, FileStore, MemoryStore
from fine_tune_assets.dedup.sketches import SHINGLE_WORDS
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.record_classes import conform
from fine_tune_assets.tables.row_selection import ColumnSource
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport
from fine_tune_assets.tables.stored_tables import StoredTable, open_table

SIZES = (100_000, 300_000, 1_000_000)
BATCH = 20_000
SEED = 7
CROWDED, HEADER_WORDS = 10_000, 100
"""Words of the header that all notes share, with boilerplate detection off."""
SETTINGS = load_recipe("demo_smollm2").dedup
EQUAL_RECALL = "datasketch, update_batch, our bands"
_WORD = re.compile("[a-z0-9]+")
Found = set[tuple[str, str]]


class Clock:
    """Wall-clock and processor seconds, summed over several intervals; includes child processes that ended in an interval."""

    def __init__(self) -> None:
        self.seconds = self.processor_seconds = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter(), _processor_seconds()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._start[0]
        self.processor_seconds += _processor_seconds() - self._start[1]

    def rows(self) -> dict[str, float]:
        return {"seconds": self.seconds, "processor_seconds": self.processor_seconds}


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def made_batches(count: int, header_words: int = 0) -> Iterator[Notes]:
    for batch in range(-(-count // BATCH)):
        yield make_notes(batch, min(BATCH, count - batch * BATCH), SEED, header_words)


def quality(found: Found, copied_from: dict[str, tuple[str, float]]) -> dict[str, float]:
    """Recall of planted copies by fraction of edits, and the fraction of found pairs that originate from one note."""
    either = found | {(b, a) for a, b in found}
    origin = {copy: original for copy, (original, _) in copied_from.items()}
    true = sum(origin.get(a, a) == origin.get(b, b) for a, b in found)
    rows = {"precision": true / max(len(found), 1)}
    for edits in EDITS:
        planted = [(copy, original) for copy, (original, share) in copied_from.items() if share == edits]
        rows[f"recall_{edits:.0%}"] = sum(pair in either for pair in planted) / len(planted)
    return rows


def ours(count: int, processes: int, header_words: int = 0, *, in_memory: bool = False) -> dict[str, Any]:
    """Run stage 3 without the encoder, from the batches' files to the tables, and then again with the stored sketches.

    With `header_words`, all notes share a header that is not treated as boilerplate: the worst case for the buckets. With
    `in_memory`, the notes are in memory already and nothing is stored in files, as with datasketch.
    """
    settings = replace(SETTINGS, boilerplate_subjects=10**9) if header_words else SETTINGS
    finding, writing, again = Clock(), Clock(), Clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied_from, text_bytes = store(folder / "batches", count, header_words)
        kept: ArrayStore = MemoryStore() if in_memory else FileStore(folder / "kept")
        batches: Mapping[str, ColumnSource] = stored_batches(folder / "batches")
        if in_memory:
            batches = {name: batch.select(ScrubbedReport.SCHEMA.names) for name, batch in batches.items()}
        with finding:
            found = find_duplicates_in_batches(batches, settings, ignore_progress, store=kept, threads=processes)
        with writing:
            for table_name, table in (("unique", found.unique), ("duplicates", found.duplicates)):
                fingerprint_table(table)
                write_table(folder / f"{table_name}.parquet", table)
        dropped = found.duplicates.num_rows
        del found, table
        with again:
            reports = ReportBatches(batches)
            corpus = read_corpus(reports, kept, processes, ignore_progress)
            comparison = compare_reports(corpus, settings, None, processes)
        ids = np.array(corpus.facts["report_id"].to_pylist())[comparison.order]
        pairs = {(str(a), str(b)) for a, b in ids[comparison.near.rows]}
    sizes = {"dropped": dropped, "text_bytes": text_bytes, "seconds_writing": writing.seconds}
    rows_again = {"seconds_again": again.seconds, "processor_seconds_again": again.processor_seconds}
    return {**finding.rows(), **sizes, **rows_again, **quality(pairs, copied_from)}


def store(folder: Path, count: int, header_words: int) -> tuple[dict[str, tuple[str, float]], int]:
    """Write one file per batch; return which note is a copy of which, and the bytes of all texts."""
    copied_from: dict[str, tuple[str, float]] = {}
    text_bytes = 0
    for number, notes in enumerate(made_batches(count, header_words)):
        plain = {
            "batch": f"{number:04}",
            "source": "made up",
            "scrubber_version": "",
            "fingerprint": "",
            "span_count": 0,
        }
        table = notes.table
        for name, value in plain.items():
            table = table.append_column(name, pa.array([value] * table.num_rows))
        write_table(folder / f"{number:04}.parquet", conform(table, ScrubbedReport.SCHEMA))
        copied_from.update(notes.copied_from)
        text_bytes += table["text"].nbytes
    return copied_from, text_bytes


def stored_batches(folder: Path) -> dict[str, StoredTable]:
    return {path.stem: open_table(UPath(path), ScrubbedReport.SCHEMA) for path in sorted(folder.iterdir())}


def datasketch(count: int, add: Callable[[Any, list[bytes]], None], is_thorough: bool = False) -> dict[str, Any]:
    (notes,) = made_batches(count)
    ids, texts = notes.table["report_id"].to_pylist(), notes.table["tagged_text"].to_pylist()
    clock = Clock()
    with clock:
        found = _found_by_datasketch(ids, texts, add, is_thorough)
    return {**clock.rows(), **quality(found, notes.copied_from)}


def _found_by_datasketch(
    ids: list[str], texts: list[str], add: Callable[[Any, list[bytes]], None], is_thorough: bool
) -> Found:
    """`is_thorough`: use our bands and the true similarity of each candidate pair."""
    from datasketch import MinHash, MinHashLSH

    threshold = SETTINGS.near_threshold
    bands = bands_for(threshold) if is_thorough else None
    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, params=bands)
    sketches: dict[str, Any] = {}
    sets: dict[str, set[str]] = {}
    found: Found = set()
    for report_id, text in zip(ids, texts, strict=True):
        words = _WORD.findall(text.lower())
        shingles = {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))}
        sketch = MinHash(num_perm=PERMUTATIONS)
        add(sketch, [s.encode() for s in shingles])
        for other in index.query(sketch):
            if is_thorough:
                shared = len(shingles & sets[other])
                similarity = shared / (len(shingles) + len(sets[other]) - shared)
            else:
                similarity = sketch.jaccard(sketches[other])
            if similarity >= threshold:
                found.add((other, report_id))
        index.insert(report_id, sketch)
        sketches[report_id], sets[report_id] = sketch, shingles if is_thorough else set()
    return found


def one_by_one(sketch: Any, shingles: list[bytes]) -> None:
    for shingle in shingles:
        sketch.update(shingle)


def at_once(sketch: Any, shingles: list[bytes]) -> None:
    sketch.update_batch(shingles)


def measured(measure: Callable[..., dict[str, Any]], count: int, *arguments: Any, **named: Any) -> dict[str, Any]:
    """Run `measure` in a separate process; add notes per second and the peak memory of the process and its children."""
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    process = context.Process(target=_measure, args=(answer, partial(measure, **named), count, arguments))
    process.start()
    rows = answer.get()
    process.join()
    return dict(rows)


def _measure(answer: Any, measure: Callable[..., dict[str, Any]], count: int, arguments: tuple[Any, ...]) -> None:
    memory = PeakMemory()
    memory.start()
    rows = measure(count, *arguments)
    answer.put({"notes": count, "notes_per_second": count / rows["seconds"], **rows, "peak_bytes": memory.end()})


def show(results: dict[str, dict[str, Any]]) -> None:
    columns = (
        "notes",
        "seconds",
        "CPU seconds",
        "notes a second",
        "again, s",
        "recall 5 %",
        "recall 10 %",
        "precision",
        "peak memory",
    )
    table = Table(title=f"Near duplicates from {SETTINGS.near_threshold}, {PERMUTATIONS} permutations")
    table.add_column("run")
    for column in columns:
        table.add_column(column, justify="right")
    for name, r in results.items():
        measures = (f"{r[key]:.4f}" for key in ("recall_5%", "recall_10%", "precision"))
        numbers = (
            f"{r['notes']:,}",
            f"{r['seconds']:.1f}",
            f"{r['processor_seconds']:.1f}",
            f"{r['notes_per_second']:,.0f}",
            f"{r['seconds_again']:.1f}" if "seconds_again" in r else "",
        )
        table.add_row(name, *numbers, *measures, f"{r['peak_bytes'] / 2**30:.2f} GiB")
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of notes")
    parser.add_argument(
        "--beside", type=int, default=BATCH, help="number of notes for the comparison with datasketch, at most 20,000"
    )
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    beside = arguments.beside
    results = {
        "datasketch, update": measured(datasketch, beside, one_by_one),
        "datasketch, update_batch": measured(datasketch, beside, at_once),
        EQUAL_RECALL: measured(datasketch, beside, at_once, True),
        "this, 1 process, in memory": measured(ours, beside, 1, in_memory=True),
        "this, 1 process": measured(ours, beside, 1),
    }
    for size in (beside, *arguments.sizes):
        results[f"this, {arguments.processes} processes, {size:,}"] = measured(ours, size, arguments.processes)
    results["this, one header, no boilerplate"] = measured(
        ours, min(CROWDED, beside), arguments.processes, HEADER_WORDS
    )
    show(results)
    fastest = max(r["notes_per_second"] for name, r in results.items() if name.startswith("datasketch"))
    equal = results[EQUAL_RECALL]["notes_per_second"]
    times = {name: r["notes_per_second"] / fastest for name, r in results.items()}
    at_equal_recall = {name: r["notes_per_second"] / equal for name, r in results.items()}
    figures = {"times_the_fastest_datasketch": times, "times_datasketch_at_equal_recall": at_equal_recall}
    print(json.dumps({"results": results, **figures}))


if __name__ == "__main__":
    sys.exit(main())
