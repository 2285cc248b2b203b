"""Worker process that lists misses: `python -m fine_tune_assets.phi.measurement`, started through Dagster Pipes."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.processes.worker_requests import FindMissesRequest
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.measurement.misses import find_misses
from fine_tune_assets.phi.scrub_workers import open_workers
from fine_tune_assets.recipes.schema import ScrubberSettings

_TEXTS_FOR_ALL_CORES = 1_000


def list_misses(request: FindMissesRequest, progress: Progress) -> dict[str, Any]:
    """The misses in the files in `gold` → `output`."""
    settings = TypeAdapter(ScrubberSettings).validate_python(request["settings"])
    with open_workers(settings, _TEXTS_FOR_ALL_CORES) as workers:
        table = find_misses([Path(path) for path in request["gold"]], workers, settings, progress)
    write_table(Path(request["output"]), table)
    return {"misses": table.num_rows}


if __name__ == "__main__":
    serve_request({"find_misses": list_misses})
