"""Runs one training on a Ray cluster, with Ray Train workers as ranks.

Runs as a Ray job. Waits for capacity, and resumes from the last checkpoint after a lost node. Errors of the trainer itself, such
as out of memory, are not retried: Ray's FailureConfig cannot tell the two apart. All nodes need the data folder and this code
under the same paths.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.extras import require_extra
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.processes.worker import ERROR, IS_USER_FACING, RESPONSE_FILE, handle_request, read_response
from fine_tune_assets.core.processes.worker_requests import RankResources, TrainRequest
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.training.distributed.launch import (
    CLUSTER,
    RANK_WAIT_SECONDS,
    combine_answers,
    forward_progress,
    progress_writer,
    response_file,
    train_in_process,
)

MAX_ATTEMPTS = 4
"""Each attempt after the first resumes from the last checkpoint after a lost node."""
LOST_EXIT_CODE = -9


class ClusterError(FineTuneError):
    """The cluster lacks the resources for this training."""


class RankFailedError(Exception):
    """Ends all ranks of an attempt; their answers contain the cause."""


def train_on_cluster(request: TrainRequest, progress: Progress) -> dict[str, Any]:
    """The first rank's result. Raises FineTuneError; exits this process if nodes were lost in every attempt."""
    with require_extra("Training on a Ray cluster"):
        import ray

    ray.init(logging_level=logging.ERROR, log_to_driver=False)
    folder, count = Path(request[RESPONSE_FILE]).parent, int(request["settings"]["processes"])
    answers: list[dict[str, Any] | None] = []
    with forward_progress(folder, progress):
        for _ in range(MAX_ATTEMPTS):
            wait_for_capacity(ray.nodes, count, request[CLUSTER])
            for rank in range(count):
                response_file(folder, rank).unlink(missing_ok=True)
            is_done = _run_attempt(request, folder, count)
            answers = [read_response(response_file(folder, rank)) for rank in range(count)]
            if is_done or not has_lost_node(answers):
                break
    return combine_answers(answers, [0 if answer else LOST_EXIT_CODE for answer in answers])


def has_lost_node(answers: Iterable[Mapping[str, Any] | None]) -> bool:
    """A failed rank leaves an error; one on a lost node leaves nothing, and the others only report a lost connection."""
    collected = list(answers)
    return None in collected and not any(answer and answer.get(IS_USER_FACING) for answer in collected)


def wait_for_capacity(nodes: Callable[[], list[dict[str, Any]]], count: int, rank_resources: RankResources) -> None:
    """Raise ClusterError unless the nodes have room for all ranks within `wait_seconds`."""
    deadline = time.monotonic() + rank_resources["wait_seconds"]
    while (available := count_available_ranks(nodes(), rank_resources)) < count:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"The Ray cluster has room for {available} of {count} processes with {rank_resources['gpus']:g} GPUs and "
                f"{rank_resources['cpus']:g} CPUs each, after a wait of {rank_resources['wait_seconds'] / 60:g} minutes. "
                "Start more nodes, or lower training.processes in the recipe."
            )
        time.sleep(1)


def count_available_ranks(nodes: Iterable[Mapping[str, Any]], rank_resources: RankResources) -> int:
    """How many ranks fit on the nodes. A rank needs all its resources on one node."""
    required = _ray_resources(rank_resources)
    return sum(
        min(int(node["Resources"].get(name, 0) // amount) for name, amount in required.items())
        for node in nodes
        if node["Alive"]
    )


def _ray_resources(rank_resources: RankResources) -> dict[str, float]:
    """Resources of each rank, in Ray's names."""
    wanted = {"CPU": rank_resources["cpus"], "GPU": rank_resources["gpus"]}
    return {name: amount for name, amount in wanted.items() if amount}


def _run_attempt(request: TrainRequest, folder: Path, count: int) -> bool:
    """False if a rank failed or its node was lost."""
    rank_resources = request[CLUSTER]
    # Ray's default is to wait indefinitely for occupied resources.
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(rank_resources["wait_seconds"])
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import FailureConfig
    from ray.train.v2.api.exceptions import TrainingFailedError

    trainer = TorchTrainer(
        run_rank,
        train_loop_config={"request": request, "folder": str(folder)},
        torch_config=TorchConfig(
            "cuda:nccl,cpu:gloo" if rank_resources["gpus"] else "gloo", timeout_s=RANK_WAIT_SECONDS
        ),
        scaling_config=ScalingConfig(
            num_workers=count,
            use_gpu=bool(rank_resources["gpus"]),
            resources_per_worker=_ray_resources(rank_resources),
            placement_strategy="SPREAD",
        ),
        run_config=RunConfig(
            name="training", storage_path=str(folder), failure_config=FailureConfig(0, controller_failure_limit=0)
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError:
        return False
    return True


def run_rank(config: dict[str, Any]) -> None:
    """Run one rank in a Ray Train worker, which has already formed the process group."""
    from ray.train import get_context
    from ray.train.torch import get_device

    go_offline()
    if config["request"][CLUSTER]["gpus"]:
        import torch

        torch.cuda.set_device(get_device())
    folder, rank = Path(config["folder"]), get_context().get_world_rank()
    answer = handle_request(
        config["request"], train_in_process, progress_writer(folder) if rank == 0 else ignore_progress
    )
    write_text(response_file(folder, rank), json.dumps(answer))
    if ERROR in answer:
        raise RankFailedError(f"Rank {rank} failed: {answer['type']}.")
