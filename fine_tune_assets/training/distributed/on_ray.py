"""One training on a Ray cluster: its ranks are Ray Train's workers, spread over the nodes.

Owns waiting for places, and starting again from the last checkpoint what lost a node. Runs as a Ray job. What the trainer
itself says, such as that memory is short, is not tried again: Ray's own FailureConfig can't tell the two apart. All nodes see
the data folder, and these modules, under the same path.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.extras import extra_for
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.processes.worker import ANSWER_FILE, ERROR, FOR_PEOPLE, answer_to, read_answer
from fine_tune_assets.core.progress import Progress, silent
from fine_tune_assets.training.distributed.launch import (
    CLUSTER,
    RANK_WAIT_SECONDS,
    answer_file,
    result_of,
    telling,
    told_aloud,
    train_as_one,
)

ATTEMPTS = 4
"""Each but the first goes on from the last checkpoint, when a node was lost."""
LOST = -9


class ClusterError(FineTuneError):
    """The cluster can't train this."""


class RankFailedError(Exception):
    """Ends all ranks of an attempt. Why is in the answers."""


def train_on_cluster(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The first rank's result. Raises FineTuneError, and ends this process if nodes were lost again and again."""
    with extra_for("Training on a Ray cluster"):
        import ray

    ray.init(logging_level=logging.ERROR, log_to_driver=False)
    folder, count = Path(request[ANSWER_FILE]).parent, int(request["settings"]["processes"])
    answers: list[dict[str, Any] | None] = []
    with told_aloud(folder, progress):
        for _ in range(ATTEMPTS):
            wait_for_places(ray.nodes, count, request[CLUSTER])
            for rank in range(count):
                answer_file(folder, rank).unlink(missing_ok=True)
            is_done = _attempt(request, folder, count)
            answers = [read_answer(answer_file(folder, rank)) for rank in range(count)]
            if is_done or not was_node_lost(answers):
                break
    return result_of(answers, [0 if answer else LOST for answer in answers])


def was_node_lost(answers: Iterable[Mapping[str, Any] | None]) -> bool:
    """A rank that failed says so; one whose node is gone does not, and the others only miss it."""
    held = list(answers)
    return None in held and not any(answer and answer.get(FOR_PEOPLE) for answer in held)


def wait_for_places(nodes: Callable[[], list[dict[str, Any]]], count: int, need: Mapping[str, float]) -> None:
    """Raise ClusterError unless the nodes that are up have room for all ranks, now or after a while."""
    until = time.monotonic() + need["wait_seconds"]
    while (found := places(nodes(), need)) < count:
        if time.monotonic() > until:
            raise ClusterError(
                f"The Ray cluster has room for {found} of {count} processes with {need['gpus']:g} GPUs and {need['cpus']:g} "
                f"CPUs each, and waiting for {need['wait_seconds'] / 60:g} minutes did not help. Start more nodes, or lower "
                "training.processes in the recipe."
            )
        time.sleep(1)


def places(nodes: Iterable[Mapping[str, Any]], need: Mapping[str, float]) -> int:
    """How many ranks fit on the nodes, of which each rank takes one."""
    wanted = _taken(need)
    return sum(
        min(int(node["Resources"].get(name, 0) // amount) for name, amount in wanted.items())
        for node in nodes
        if node["Alive"]
    )


def _taken(need: Mapping[str, float]) -> dict[str, float]:
    """By each rank, in Ray's names."""
    return {name: need[key] for name, key in (("CPU", "cpus"), ("GPU", "gpus")) if need[key]}


def _attempt(request: dict[str, Any], folder: Path, count: int) -> bool:
    """False if a rank failed or its node was lost."""
    need = request[CLUSTER]
    # Ray would wait for ever for places that others hold.
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(need["wait_seconds"])
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import FailureConfig
    from ray.train.v2.api.exceptions import TrainingFailedError

    trainer = TorchTrainer(
        be_a_rank,
        train_loop_config={"request": request, "folder": str(folder)},
        torch_config=TorchConfig("cuda:nccl,cpu:gloo" if need["gpus"] else "gloo", timeout_s=RANK_WAIT_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=count,
            use_gpu=bool(need["gpus"]),
            resources_per_worker=_taken(need),
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


def be_a_rank(config: dict[str, Any]) -> None:
    """In a worker of Ray Train, which has formed the group already."""
    from ray.train import get_context
    from ray.train.torch import get_device

    go_offline()
    if config["request"][CLUSTER]["gpus"]:
        import torch

        torch.cuda.set_device(get_device())
    folder, rank = Path(config["folder"]), get_context().get_world_rank()
    answer = answer_to(config["request"], train_as_one, telling(folder) if rank == 0 else silent)
    write_text(answer_file(folder, rank), json.dumps(answer))
    if ERROR in answer:
        raise RankFailedError(f"Rank {rank} failed: {answer['type']}.")
