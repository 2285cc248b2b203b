"""Time and memory of a million short rows on their way into an instruction set.

Each step runs in its own process: import of each kind of file, `general_examples` with its data version and Parquet file, and
the build of a set that takes its share of them. Rows are invented; every fourth conversation has earlier turns.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.instructions.assembly import build_instruction_set
from fine_tune_assets.instructions.general_data import read_general_data
from fine_tune_assets.instructions.general_imports import GeneralImport, import_general_data
from fine_tune_assets.tables.instruction_rows import GeneralExample
from fine_tune_assets.tables.record_classes import conform
from fine_tune_assets_tests.instructions.examples import SEARCH, approved, around, rules

APPROVED, FRACTION = 5_000, 0.5
ROWS_AT_ONCE = 10_000
KINDS = 8


def make_rows(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        texts = [
            f"Question {number}: what is {number % 97} times {number % 89}?",
            f"It is {number % 97 * (number % 89)}.",
        ]
        turns = ["Hello, who are you?", "A language model."] * (number % 4 == 0) + texts
        roles = ("user", "assistant") * 2
        messages = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]
        yield {"messages": messages, "category": f"kind {number % KINDS}"}


def write_json_lines(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in make_rows(count))


def write_json_array(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        file.writelines((",\n" if number else "") + json.dumps(row) for number, row in enumerate(make_rows(count)))
        file.write("]")


def write_parquet(path: Path, count: int) -> None:
    turn = pa.struct({"role": pa.string(), "content": pa.string()})
    schema = pa.schema({"messages": pa.list_(turn), "category": pa.string()})
    rows = make_rows(count)
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, ROWS_AT_ONCE):
            part = [next(rows) for _ in range(min(ROWS_AT_ONCE, count - start))]
            writer.write_table(pa.Table.from_pylist(part, schema))


FILES: dict[str, Callable[[Path, int], None]] = {
    "JSON Lines": write_json_lines,
    "JSON array": write_json_array,
    "Parquet": write_parquet,
}


def run_import(folder: Path, kind: str) -> int:
    root = folder / kind
    dataset = open_dataset(folder / f"{kind}.file")
    return import_general_data(dataset, GeneralImport(root, "made", "made", "MIT")).conversations


def run_general_examples(folder: Path) -> int:
    table = read_general_data(folder / "JSON Lines").table
    fingerprint_table(table)
    write_table(folder / "general_examples.parquet", conform(table, GeneralExample.SCHEMA))
    return table.num_rows


def run_mix(folder: Path) -> int:
    """Without the search for leaks, whose memory depends on the set alone."""
    general = conform(pq.read_table(folder / "general_examples.parquet"), GeneralExample.SCHEMA)
    search = replace(SEARCH, find_pairs=lambda *_: [], find_lexical_pairs=lambda *_: [])
    built = build_instruction_set(approved(APPROVED), general, rules(0, made=FRACTION), around(leak_search=search))
    return sum(built.table.column("is_general").to_pylist())


def measured(step: Callable[..., int], *arguments: Any) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (step, arguments))


def _measure(step: Callable[..., int], arguments: tuple[Any, ...]) -> dict[str, float]:
    start = time.perf_counter()
    rows = step(*arguments)
    seconds, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    return {"rows": rows, "seconds": seconds, "cpu_seconds": cpu, "peak_mb": usage.ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    count = parser.parse_args().rows
    results = {}
    with tempfile.TemporaryDirectory(prefix="bench-datasets-") as scratch:
        folder = Path(scratch)
        for kind, write in FILES.items():
            write(folder / f"{kind}.file", count)
            results[f"import of {kind}"] = measured(run_import, folder, kind)
        results["general_examples"] = measured(run_general_examples, folder)
        results["mix and set"] = measured(run_mix, folder)
    table = Table("step", "rows", "seconds", "CPU seconds", "peak MiB", title=f"{count:,} rows")
    for name, one in results.items():
        numbers = (f"{one[key]:,.0f}" for key in ("rows", "seconds", "cpu_seconds", "peak_mb"))
        table.add_row(name, *numbers)
    Console().print(table)
    print(json.dumps({"rows": count, "results": results}))


if __name__ == "__main__":
    main()
