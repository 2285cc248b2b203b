"""The scrubber in a process of its own: `python -m fine_tune_assets.phi`, started through Dagster Pipes.

Owns the requests it answers. Tables come and go as Parquet paths; what goes back are counts.
"""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.tables import REPORTS, SCRUBBED_CORRECTIONS, check_table
from fine_tune_assets.core.worker import serve_request
from fine_tune_assets.phi.recall import measure_recall, overall_recall
from fine_tune_assets.phi.scrubbing import Scrubber, build_scrubber, count_by_label, scrub_columns, scrub_reports
from fine_tune_assets.recipes.schema import ScrubSettings

Request = dict[str, Any]


def scrub(request: Request, progress: Progress) -> dict[str, Any]:
    """`reports` → `scrubbed` and `spans`."""
    reports = pq.read_table(request["reports"]).select(REPORTS.names)
    check_table(reports, REPORTS)
    scrubber = _scrubber(request)
    scrubbed, spans = scrub_reports(reports, scrubber, progress)
    write_table(Path(request["scrubbed"]), scrubbed)
    write_table(Path(request["spans"]), spans)
    return {
        "reports": scrubbed.num_rows,
        "spans": spans.num_rows,
        "by_label": count_by_label(spans),
        "scrubber_version": scrubber.version,
    }


def measure(request: Request, progress: Progress) -> dict[str, Any]:
    """`gold`, a list of files → `output`."""
    scrubber = _scrubber(request)
    table = measure_recall([Path(p) for p in request["gold"]], scrubber, progress)
    write_table(Path(request["output"]), table)
    return {"recall": overall_recall(table), "scrubber_version": scrubber.version}


def scrub_corrections(request: Request, progress: Progress) -> dict[str, Any]:
    """`corrections` → `output`, with instruction, input and output scrubbed."""
    corrections = pq.read_table(request["corrections"]).select(SCRUBBED_CORRECTIONS.names).cast(SCRUBBED_CORRECTIONS)
    scrubber = _scrubber(request)
    scrubbed = scrub_columns(corrections, ("instruction", "input", "output"), scrubber, progress)
    check_table(scrubbed, SCRUBBED_CORRECTIONS)
    write_table(Path(request["output"]), scrubbed)
    return {"corrections": scrubbed.num_rows, "scrubber_version": scrubber.version}


def _scrubber(request: Request) -> Scrubber:
    return build_scrubber(TypeAdapter(ScrubSettings).validate_python(request["settings"]))


if __name__ == "__main__":
    serve_request({"scrub": scrub, "measure_recall": measure, "scrub_corrections": scrub_corrections})
