"""One rank of a local training: `python -m fine_tune_assets.training.distributed.rank FOLDER`.

Started by launch.py with its rank in the environment, and dies with it.
"""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.core.processes.worker import ERROR, handle_request
from fine_tune_assets.core.processes.worker_requests import TrainRequest
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.training.distributed.launch import (
    RANK_WAIT_SECONDS,
    REQUEST_FILE,
    STORE_FILE,
    progress_writer,
    response_file,
    train_in_process,
)


def main(folder: Path) -> int:
    die_with_parent()
    go_offline()
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    request = json.loads((folder / REQUEST_FILE).read_text(encoding="utf-8"))

    def train(request: TrainRequest, progress: Progress) -> dict[str, Any]:
        join_group(f"file://{folder / STORE_FILE}", rank, count)
        return train_in_process(request, progress)

    answer = handle_request(request, train, progress_writer(folder) if rank == 0 else ignore_progress)
    write_text(response_file(folder, rank), json.dumps(answer))
    return 1 if ERROR in answer else 0


def join_group(init_method: str, rank: int, count: int) -> None:
    """Form the process group: NCCL between GPUs, gloo between CPUs."""
    import torch
    import torch.distributed as dist

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(
        "cuda:nccl,cpu:gloo" if on_gpu else "gloo", init_method, timedelta(seconds=RANK_WAIT_SECONDS), count, rank
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
