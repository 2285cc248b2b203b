"""A worker as a job on a Ray cluster, instead of a process on this machine.

Belongs here: submitting the job and what becomes of one that was left. Must stay out: what it does (see
`training/distributed/on_ray.py`). Ray is imported when a job is submitted: every step process loads this file.
"""

import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from fine_tune_assets.core.extras import MissingExtraError, extra_for
from fine_tune_assets.core.files import make_folder
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.processes.worker import ANSWER_FILE, read_answer
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.training.distributed.launch import CLUSTER

INSTALLATION = "fine_tune_data_dir"
"""Key of a job's metadata: whose it is."""
STOPPING_SECONDS = 60


def answer_from_cluster(
    context: dg.AssetExecutionContext, package: str, request: dict[str, Any], settings: Settings
) -> dict[str, Any] | None:
    """What the worker wrote; None if it ended before it could. Raises dg.Failure if the cluster can't be reached."""
    try:
        with extra_for("FINE_TUNE_RAY_ADDRESS is set, and training on a Ray cluster"):
            from dagster_ray import PipesRayJobClient
    except MissingExtraError as error:
        raise dg.Failure(str(error), allow_retries=False) from None

    cluster = PipesRayJobClient(address=settings.ray.address)
    jobs = _reached(cluster, settings.ray.address)
    whose = {INSTALLATION: str(settings.data_dir)}
    _stop_left_jobs(jobs, whose)
    command = [sys.executable, "-m", f"fine_tune_assets.{package}", "--on-cluster"]
    with _shared_folder(settings) as folder:
        try:
            cluster.run(
                context=context,
                extras={**request, CLUSTER: _needs(settings), ANSWER_FILE: str(folder / "answer.json")},
                submit_job_params={
                    "entrypoint": shlex.join(command),
                    "runtime_env": {"env_vars": {**OFFLINE_ENVIRONMENT, "PYTHONPATH": str(PROJECT_DIR)}},
                    "metadata": whose,
                },
            )
        # The job's log is in the run's, and the message holds its last lines: they are not repeated.
        except RuntimeError:
            context.log.warning("The Ray job failed. Its log is above.")
        return read_answer(folder / "answer.json")


def _needs(settings: Settings) -> dict[str, float]:
    return {
        "gpus": settings.ray.gpus_per_process,
        "cpus": settings.ray.cpus_per_process,
        "wait_seconds": settings.ray.wait_minutes * 60,
    }


def _reached(cluster: Any, address: str) -> Any:
    try:
        return cluster.client
    except (ConnectionError, RuntimeError):
        raise dg.Failure(
            f"The Ray cluster at {address} does not answer. Start it, or correct FINE_TUNE_RAY_ADDRESS: the address of Ray's "
            "dashboard, such as http://10.0.0.5:8265; without it training runs on this machine.",
            allow_retries=False,
        ) from None


def _stop_left_jobs(jobs: Any, whose: dict[str, str]) -> None:
    """A step that was killed left its job behind, which would write the same checkpoints as the next one."""
    left = [
        job.submission_id
        for job in jobs.list_jobs()
        if job.submission_id and (job.metadata or {}).items() >= whose.items() and not job.status.is_terminal()
    ]
    for job in left:
        jobs.stop_job(job)
    until = time.monotonic() + STOPPING_SECONDS
    while any(not jobs.get_job_status(job).is_terminal() for job in left):
        if time.monotonic() > until:
            raise dg.Failure(
                f"The Ray jobs {', '.join(left)} of an earlier training do not end. Stop them, then retry."
            )
        time.sleep(0.5)


@contextmanager
def _shared_folder(settings: Settings) -> Iterator[Path]:
    """On the storage that all nodes see."""
    folder = settings.layout.run / "cluster"
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
