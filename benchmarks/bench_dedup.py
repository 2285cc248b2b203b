"""Near duplicates: how fast and in what memory up to a million notes, and the same notes with datasketch's MinHashLSH.

Notes are made up, with planted copies (`made_up_notes`). Each run is a process of its own. datasketch gets the same words,
threshold and permutations, by `update` (one shingle at a time, as its documentation shows) and by `update_batch`; it looks a
note up before it adds it, and keeps pairs whose estimated similarity reaches the threshold. With bands of its own choice it
finds fewer copies, so it runs once more for an equal recall: with our bands, and pairs kept by their true similarity. Making
notes is not timed. This one is timed as stage 3 works, but for the encoder: from a Parquet file a batch, through its store, to
the tables. What writing these takes, and the comparison once more with all that was kept, stand beside it.
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
from fine_tune_assets.core.progress import silent
from fine_tune_assets.dedup.batches import Batches
from fine_tune_assets.dedup.comparison import compare
from fine_tune_assets.dedup.duplicates import find_among, read_corpus
from fine_tune_assets.dedup.signatures import PERMUTATIONS, bands_for
from fine_tune_assets.dedup.sketches import SHINGLE_WORDS
from fine_tune_assets.dedup.store import InMemory, Kept, Store
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.columns import Columns
from fine_tune_assets.tables.phi import ScrubbedReport
from fine_tune_assets.tables.records import conform
from fine_tune_assets.tables.stored_tables import StoredTable, open_table

SIZES = (100_000, 300_000, 1_000_000)
BATCH = 20_000
SEED = 7
CROWDED, HEADER_WORDS = 10_000, 100
"""Notes that share a header of as many words, with nothing taken for boilerplate."""
SETTINGS = load_recipe("demo_smollm2").dedup
EQUAL_RECALL = "datasketch, update_batch, our bands"
_WORD = re.compile("[a-z0-9]+")
Found = set[tuple[str, str]]


class Clock:
    """Seconds on the wall, and of the processors, over several stretches; processes that ended count with the stretch."""

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
    """Recall of planted copies by share of edits, and the share of found pairs that stem from one note."""
    either = found | {(b, a) for a, b in found}
    origin = {copy: original for copy, (original, _) in copied_from.items()}
    true = sum(origin.get(a, a) == origin.get(b, b) for a, b in found)
    rows = {"precision": true / max(len(found), 1)}
    for edits in EDITS:
        planted = [(copy, original) for copy, (original, share) in copied_from.items() if share == edits]
        rows[f"recall_{edits:.0%}"] = sum(pair in either for pair in planted) / len(planted)
    return rows


def ours(count: int, processes: int, header_words: int = 0, *, in_memory: bool = False) -> dict[str, Any]:
    """What stage 3 does but for the encoder, from the batches' files to its own, and then once more with what was kept.

    With `header_words`, a header that all share and that nobody takes for boilerplate: the worst for the buckets. With
    `in_memory` the notes are there already and nothing is kept in files, as datasketch has it.
    """
    settings = replace(SETTINGS, boilerplate_patients=10**9) if header_words else SETTINGS
    finding, writing, again = Clock(), Clock(), Clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied_from, text_bytes = store(folder / "batches", count, header_words)
        kept: Kept = InMemory() if in_memory else Store(folder / "kept")
        batches: Mapping[str, Columns] = stored_batches(folder / "batches")
        if in_memory:
            batches = {name: batch.select(ScrubbedReport.SCHEMA.names) for name, batch in batches.items()}
        with finding:
            found = find_among(batches, settings, silent, kept=kept, threads=processes)
        with writing:
            for table_name, table in (("unique", found.unique), ("duplicates", found.duplicates)):
                fingerprint_table(table)
                write_table(folder / f"{table_name}.parquet", table)
        dropped = found.duplicates.num_rows
        del found, table
        with again:
            reports = Batches(batches)
            corpus = read_corpus(reports, kept, processes, silent)
            comparison = compare(corpus, settings, None, processes)
        ids = np.array(corpus.facts["report_id"].to_pylist())[comparison.order]
        pairs = {(str(a), str(b)) for a, b in ids[comparison.near.rows]}
    told = {"dropped": dropped, "text_bytes": text_bytes, "seconds_writing": writing.seconds}
    rows_again = {"seconds_again": again.seconds, "processor_seconds_again": again.processor_seconds}
    return {**finding.rows(), **told, **rows_again, **quality(pairs, copied_from)}


def store(folder: Path, count: int, header_words: int) -> tuple[dict[str, tuple[str, float]], int]:
    """Write one file a batch; which note is a copy of which, and the bytes of all texts."""
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
    """`is_thorough`: with our bands, and by the true similarity of a proposed pair."""
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
    """In a process of its own: what was measured, notes a second, and the peak of memory of it and its processes."""
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
        "once more, s",
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
    parser.add_argument("--beside", type=int, default=BATCH, help="notes that datasketch gets too, 20,000 at most")
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
