"""`fine-tune duplicates`: find duplicate documents, by the rules of stage 3 and the recipe's thresholds. Needs no
installation."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

import click
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress as Bar

from fine_tune_assets.cli.document_input import OUTPUT, Document, DocumentError, read_documents
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.dedup.duplicates import find_duplicates
from fine_tune_assets.embeddings.encoder import encode_passages
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport

_MAX_LISTED = 5
_COLUMNS = ("dropped_id", "kept_id", "kind", "similarity")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@OUTPUT
def duplicates(files: tuple[Path, ...], output: IO[str]) -> None:
    """Find duplicate documents.

    FILES are text, or JSONL with `id` and `text`. Prints one JSON object for each document that stage 3 would drop: `dropped`,
    `kept`, `kind` (exact, near or semantic) and `similarity` from 0 to 1. Lines that ten or more documents share are ignored.
    Each document counts as a subject, so near copies whose numbers, sides or negations conflict are not printed.
    """
    installed = load_settings()
    settings = load_recipe(installed.recipe).dedup
    threads = installed.threads or len(os.sched_getaffinity(0))
    table = _as_reports([document for file in files for document in read_documents(file)])
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Comparing", total=table.num_rows)
        found = find_duplicates(
            table,
            settings,
            lambda done, _total, _what: bar.update(task, completed=done),
            encode=partial(encode_passages, threads=threads),
            threads=threads,
        )
    for row in found.duplicates.to_pylist():
        output.write(json.dumps({name.removesuffix("_id"): row[name] for name in _COLUMNS}, ensure_ascii=False) + "\n")


def _as_reports(documents: Sequence[Document]) -> pa.Table:
    """The documents as stage 3 reads them, each with a different subject. Raises DocumentError for an id that occurs twice."""
    twice = [i for i, count in Counter(str(d["id"]) for d in documents).items() if count > 1]
    if twice:
        shown = ", ".join(twice[:_MAX_LISTED]) + (", …" if len(twice) > _MAX_LISTED else "")
        raise DocumentError(f"These ids occur more than once: {shown}. Give every document a unique id.")
    return table_from_rows([_as_report(str(d["id"]), d["text"]) for d in documents], ScrubbedReport.SCHEMA)


def _as_report(report_id: str, text: str) -> dict[str, str | int]:
    nothing = dict.fromkeys(("batch", "source", "scrubber_version", "fingerprint"), "")
    return {
        **nothing,
        "report_id": report_id,
        "subject_key": report_id,
        "text": text,
        "tagged_text": text,
        "span_count": 0,
    }
