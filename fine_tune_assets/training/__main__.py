"""The trainer as a process: `import_base_model`, `plan` and `train`, one request each (see core/processes/worker.py)."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import require_folder
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.tables.records import records_of
from fine_tune_assets.training.distributed.launch import CLUSTER, train_as_one, train_on_this_machine


def import_base_model(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.training.base_models.facts import read_facts
    from fine_tune_assets.training.base_models.registry import describe_base_model, import_bundled_model
    from fine_tune_assets.training.capabilities import capabilities

    folder = Path(request["folder"]) if request["folder"] else import_bundled_model(Path(request["bundled_folder"]))
    progress(1, 1, "base models imported")
    model = describe_base_model(request["name"], folder, request["licence"])
    return {**asdict(model), "uses": [asdict(use) for use in capabilities(read_facts(folder))]}


def train(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    if CLUSTER in request:
        from fine_tune_assets.training.distributed.on_ray import train_on_cluster

        return train_on_cluster(request, progress)
    if request.get("settings", {}).get("processes", 1) > 1:
        return train_on_this_machine(request, progress)
    return train_as_one(request, progress)


def plan(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """A row of training_plans, but for what it is bound to. Nothing is trained. Raises PlanError for a folder without weights, as
    of a published shape: a training is planned from what is trained."""
    folder = Path(request["base_folder"])
    require_folder(folder, request["base_fingerprint"], "base model")
    from fine_tune_assets.recipes.schema import TrainingSettings
    from fine_tune_assets.training.base_models.model_files import weight_files
    from fine_tune_assets.training.planning.measured_plan import RowLength, plan_of_set
    from fine_tune_assets.training.planning.resource_plan import PlanError

    if not any(path.is_file() for path in weight_files(folder)):
        raise PlanError(f"{folder.name} holds no weights: a training is planned from the model, not from its shape.")
    return plan_of_set(
        lengths=list(records_of(RowLength, pq.read_table(request["lengths"], partitioning=None))),
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
        is_started_here="--on-cluster" not in sys.argv,
    )
