"""One of the processes of a training on this machine: `python -m fine_tune_assets.training.distributed.rank FOLDER`.

Owns how a rank meets the others and what it writes down. Started by launch.py, with its number in the environment; dies
with it.
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
from fine_tune_assets.core.processes.worker import ERROR, answer_to
from fine_tune_assets.core.progress import Progress, silent
from fine_tune_assets.training.distributed.launch import (
    RANK_WAIT_SECONDS,
    REQUEST,
    STORE,
    answer_file,
    telling,
    train_as_one,
)


def main(folder: Path) -> int:
    die_with_parent()
    go_offline()
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))

    def train(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        meet(f"file://{folder / STORE}", rank, count)
        return train_as_one(request, progress)

    answer = answer_to(request, train, telling(folder) if rank == 0 else silent)
    write_text(answer_file(folder, rank), json.dumps(answer))
    return 1 if ERROR in answer else 0


def meet(where: str, rank: int, count: int) -> None:
    """Form the group of ranks: NCCL between GPUs, gloo between CPUs."""
    import torch
    import torch.distributed as dist

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(
        "cuda:nccl,cpu:gloo" if on_gpu else "gloo", where, timedelta(seconds=RANK_WAIT_SECONDS), count, rank
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
