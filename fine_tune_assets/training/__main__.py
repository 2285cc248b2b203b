"""The trainer's worker process: `import_base_model`, `plan` and `train` requests (see core/processes/worker.py)."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import require_unchanged_folder
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.processes.worker_requests import ImportBaseModelRequest, PlanRequest, TrainRequest
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.tables.record_classes import iter_records
from fine_tune_assets.training.distributed.launch import CLUSTER, train_in_process, train_locally


def import_base_model(request: ImportBaseModelRequest, progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.training.base_models.model_facts import read_model_facts
    from fine_tune_assets.training.base_models.prompt_folders import prepare_prompt_folder
    from fine_tune_assets.training.base_models.registration import (
        describe_checked_model,
        import_bundled_model,
        require_model_folder,
    )
    from fine_tune_assets.training.capabilities import list_capabilities

    bundled = Path(request["bundled_folder"])
    folder = Path(request["folder"]) if request["folder"] else import_bundled_model(bundled)
    require_model_folder(folder)
    folder = prepare_prompt_folder(folder, bundled.parent, request["template_kwargs"])
    progress(1, 1, "base models imported")
    model = describe_checked_model(request["name"], folder, request["licence"])
    return {**asdict(model), "engine_support": [asdict(found) for found in list_capabilities(read_model_facts(folder))]}


def train(request: TrainRequest, progress: Progress) -> dict[str, Any]:
    if CLUSTER in request:
        from fine_tune_assets.training.distributed.ray_launch import train_on_cluster

        return train_on_cluster(request, progress)
    if request.get("settings", {}).get("processes", 1) > 1:
        return train_locally(request, progress)
    return train_in_process(request, progress)


def plan(request: PlanRequest, progress: Progress) -> dict[str, Any]:
    """A row of training_plans without its fingerprints; nothing is trained. Raises PlanError for a folder without weights, such
    as a published shape, because the real model must be measured."""
    folder = Path(request["base_folder"])
    require_unchanged_folder(folder, request["base_fingerprint"], "base model")
    from fine_tune_assets.recipes.schema import TrainingSettings
    from fine_tune_assets.training.base_models.model_files import weight_files
    from fine_tune_assets.training.planning.measured_plan import RowLength, plan_training
    from fine_tune_assets.training.planning.resource_plan import PlanError

    if not any(path.is_file() for path in weight_files(folder)):
        raise PlanError(f"{folder.name} has no weights. Plan with the model's folder, not with its published shape.")
    return plan_training(
        lengths=list(iter_records(RowLength, pq.read_table(request["lengths"], partitioning=None))),
        base_folder=folder,
        settings=TrainingSettings(**request["settings"]),
        checkpoints_dir=Path(request["checkpoints_dir"]),
        threads=request["threads"],
        gpu_memory_gb=request["gpu_memory_gb"],
        progress=progress,
    )


if __name__ == "__main__":
    serve_request(
        {"import_base_model": import_base_model, "plan": plan, "train": train},
        is_local="--on-cluster" not in sys.argv,
    )
