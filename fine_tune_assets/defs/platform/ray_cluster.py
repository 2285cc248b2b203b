"""Runs a worker as a job on a Ray cluster instead of a process on this machine (see `training/distributed/ray_launch.py`).

Ray is imported only when a job is submitted, since every step process loads this module.
"""

import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from fine_tune_assets.core.extras import MissingExtraError, require_extra
from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.processes.worker import RESPONSE_FILE, read_response
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.training.distributed.launch import CLUSTER

INSTALLATION = "fine_tune_data_dir"
"""Metadata key of a job: the data folder of the installation that submitted it."""
STOP_TIMEOUT_SECONDS = 60


def run_on_cluster(
    context: dg.AssetExecutionContext, package: str, request: Mapping[str, Any], settings: Settings
) -> dict[str, Any] | None:
    """The worker's response; None if it ended without one. Raises dg.Failure if the cluster can't be reached."""
    try:
        with require_extra("FINE_TUNE_RAY_ADDRESS is set, and training on a Ray cluster"):
            from dagster_ray import PipesRayJobClient
    except MissingExtraError as error:
        raise dg.Failure(str(error), allow_retries=False) from None

    cluster = PipesRayJobClient(address=settings.ray.address)
    jobs = _connect(cluster, settings.ray.address)
    owner = {INSTALLATION: str(settings.data_dir)}
    _stop_orphaned_jobs(jobs, owner)
    command = [sys.executable, "-m", f"fine_tune_assets.{package}", "--on-cluster"]
    with _shared_folder(settings) as folder:
        try:
            cluster.run(
                context=context,
                extras={**request, CLUSTER: _resource_request(settings), RESPONSE_FILE: str(folder / "answer.json")},
                submit_job_params={
                    "entrypoint": shlex.join(command),
                    "runtime_env": {"env_vars": {**OFFLINE_ENVIRONMENT, "PYTHONPATH": str(PROJECT_DIR)}},
                    "metadata": owner,
                },
            )
        # The message repeats the last lines of the job's log, which the run's log already contains.
        except RuntimeError:
            context.log.warning("The Ray job failed. Its log is above.")
        return read_response(folder / "answer.json")


def _resource_request(settings: Settings) -> dict[str, float]:
    return {
        "gpus": settings.ray.gpus_per_process,
        "cpus": settings.ray.cpus_per_process,
        "wait_seconds": settings.ray.wait_minutes * 60,
    }


def _connect(cluster: Any, address: str) -> Any:
    try:
        return cluster.client
    except (ConnectionError, RuntimeError):
        raise dg.Failure(
            f"The Ray cluster at {address} does not respond. Start it, or correct FINE_TUNE_RAY_ADDRESS (the address of Ray's "
            "dashboard, such as http://10.0.0.5:8265). Unset it to train on this machine.",
            allow_retries=False,
        ) from None


def _stop_orphaned_jobs(jobs: Any, owner: dict[str, str]) -> None:
    """Stop jobs of killed steps, which would write the same checkpoints as the next job. Raises dg.Failure."""
    orphaned = [
        job.submission_id
        for job in jobs.list_jobs()
        if job.submission_id and (job.metadata or {}).items() >= owner.items() and not job.status.is_terminal()
    ]
    for job in orphaned:
        jobs.stop_job(job)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while any(not jobs.get_job_status(job).is_terminal() for job in orphaned):
        if time.monotonic() > deadline:
            raise dg.Failure(
                f"The Ray jobs {', '.join(orphaned)} of an earlier training did not stop within {STOP_TIMEOUT_SECONDS} "
                "seconds. Stop them with `ray job stop`, then retry."
            )
        time.sleep(0.5)


@contextmanager
def _shared_folder(settings: Settings) -> Iterator[Path]:
    """A temporary folder on the storage that all nodes share."""
    folder = settings.layout.run / "cluster"
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
