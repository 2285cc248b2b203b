"""Worker process that drafts with the base model: `write_drafts` (see core/processes/worker.py)."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.processes.worker_requests import WriteDraftsRequest
from fine_tune_assets.core.progress import Progress


def write_drafts(request: WriteDraftsRequest, progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.approval.draft_generation import write_with_model
    from fine_tune_assets.approval.task_kinds import DraftRequest

    requests = [DraftRequest(**row) for row in pq.read_table(request["requests"]).to_pylist()]
    folder, fingerprint = Path(request["folder"]), request["fingerprint"]
    table = write_with_model(requests, folder, fingerprint, request["system_prompt"], request["threads"], progress)
    write_table(Path(request["output"]), table)
    return {"written": table.num_rows}


if __name__ == "__main__":
    serve_request({"write_drafts": write_drafts})
