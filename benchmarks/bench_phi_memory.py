"""Memory of the scrubber over very many reports: it must not grow with them.

Scrubs as the graph does, on all cores, with surrogates, tables and cache; then again with a full cache.
"""

import argparse
import datetime
import json
import os
import random
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from memory import PeakMemory, resident_bytes
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.phi.measurement.recall import read_gold
from fine_tune_assets.phi.table_scrubber import ScrubJob, ScrubOutputs, scrub_report_table
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.report_rows import Report

ROWS_AT_ONCE = 2_000


def write_reports(path: Path, count: int, sentences: list[str]) -> None:
    """Reports of one labelled question each, every one another text."""
    rng = random.Random(1)
    with pq.ParquetWriter(path, Report.SCHEMA) as file:
        for start in range(0, count, ROWS_AT_ONCE):
            numbers = range(start, min(start + ROWS_AT_ONCE, count))
            file.write_table(table_from_rows([_report(n, rng.choice(sentences)) for n in numbers], Report.SCHEMA))


def _report(number: int, text: str) -> dict[str, object]:
    return {
        "report_id": f"bench/{number}",
        "batch": "bench",
        "source": "bench",
        "subject_key": f"{number // 3:064x}",
        "text": f"Visit {number}. {text}",
        "known_identifiers": [{"kind": "id", "value": f"{number:08d}"}],
        "origin_file": "bench.csv",
        "fingerprint": f"{number:064x}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=100_000)
    arguments = parser.parse_args()
    go_offline()
    gold = sorted((PROJECT_DIR / "data" / "evaluation" / "phi").glob("asq_phi.jsonl"))
    sentences = [document.text for path in gold for document in read_gold(path)]
    table = Table("reports done", "memory now (MiB)", title=f"{arguments.reports} reports")
    peak, samples = PeakMemory(), {}
    with tempfile.TemporaryDirectory(prefix="bench-phi-") as scratch:
        folder = Path(scratch)
        reports = folder / "reports.parquet"
        write_reports(reports, arguments.reports, sentences)
        outputs = ScrubOutputs(*(folder / f"{name}.parquet" for name in ("scrubbed", "spans", "withheld", "values")))
        job = ScrubJob(load_recipe("demo_smollm2").scrubber, b"k" * 32, folder / "cache", [], datetime.date.today())

        def watch(done: int, total: int, what: str) -> None:
            if what == "reports searched for identifiers" and done * 10 // total > len(samples):
                samples[done] = resident_bytes(os.getpid()) / 2**20

        peak.start()
        start = time.perf_counter()
        counts = scrub_report_table(reports, job, outputs, watch)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        again = scrub_report_table(reports, job, outputs, lambda *_: None)
        again_seconds = time.perf_counter() - start
    for done, mebibytes in samples.items():
        table.add_row(str(done), f"{mebibytes:.0f}")
    Console().print(table)
    figures = {
        "reports": arguments.reports,
        "withheld": counts.withheld,
        "reports_per_second": round(arguments.reports / seconds, 1),
        "peak_mebibytes": round(peak.end() / 2**20),
        "memory_by_reports": {done: round(m) for done, m in samples.items()},
        "again_from_cache": again.cache_hits,
        "again_seconds": round(again_seconds, 1),
        "arrow_mebibytes": round(pa.total_allocated_bytes() / 2**20),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
