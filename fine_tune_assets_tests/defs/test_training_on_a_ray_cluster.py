"""A training as a job on a Ray cluster of two nodes, through the worker that the asset `adapters` uses."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.ray_cluster import INSTALLATION
from fine_tune_assets.defs.platform.resources import Worker
from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets_tests.training.forked_ranks import Ranks
from fine_tune_assets_tests.training.tiny_training import SETTINGS

# A checkpoint after each of 32 steps, so that a node can be lost in their midst.
STEPS: TrainingSettings = replace(
    SETTINGS, packing="never", epochs=8, dropout=0.1, checkpoint_minutes=0.0, processes=2, sharding="fsdp2"
)
SMALL = 80 * 2**20
"""Bytes of a node's object store: the least that Ray takes."""


@contextmanager
def _cluster(nodes: int) -> Iterator[tuple[Any, list[Any], str]]:
    """A head that trains nothing, and nodes with room for one process each; the address of its dashboard."""
    from ray.cluster_utils import Cluster

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    head = {"num_cpus": 0, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": SMALL})
    try:
        yield cluster, [_add_node(cluster) for _ in range(nodes)], f"http://127.0.0.1:{port}"
    finally:
        cluster.shutdown()


def _add_node(cluster: Any) -> Any:
    return cluster.add_node(num_cpus=1, object_store_memory=SMALL)


def _train(request: dict[str, Any]) -> tuple[dg.ExecuteInProcessResult, list[dict[str, Any]]]:
    trained: list[dict[str, Any]] = []

    @dg.asset
    def adapter(context: dg.AssetExecutionContext, worker: Worker) -> dg.MaterializeResult[None]:
        trained.append(worker.run_local_or_cluster(context, "training", request))
        return dg.MaterializeResult()

    return dg.materialize([adapter], resources={"worker": Worker()}, raise_on_error=False), trained


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FINE_TUNE_RAY_GPUS_PER_PROCESS", "0")
    monkeypatch.setenv("FINE_TUNE_RAY_WAIT_MINUTES", "2")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    return monkeypatch


def test_a_cluster_that_does_not_answer_ends_the_step_with_its_address(settings: pytest.MonkeyPatch) -> None:
    """Training on this machine instead would take days and say nothing."""
    settings.setenv("FINE_TUNE_RAY_ADDRESS", "http://127.0.0.1:9")
    ended, trained = _train({})
    assert not ended.success
    assert trained == []
    failure = ended.failure_data_for_node("adapter")
    assert failure is not None
    assert "http://127.0.0.1:9 " in str(failure)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.xdist_group("training_on_ranks")
def test_a_training_that_loses_a_node_ends_as_it_would_have_on_one_machine(
    settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Many machines fail more often. The training waits for another node and resumes from its last checkpoint."""
    local = Ranks(tmp_path, rows=7)
    whole = local.run("whole", STEPS)
    local.stop()
    request = local.request("cluster", STEPS)
    with _cluster(nodes=2) as (cluster, nodes, address):
        settings.setenv("FINE_TUNE_RAY_ADDRESS", address)
        left, other = (_sleeping_job(address, folder) for folder in (tmp_path / "data", tmp_path / "others"))
        # Ray starts and ends nodes in the main thread only.
        with ThreadPoolExecutor(1) as others:
            training = others.submit(_train, request)
            _wait_for_step(6, Path(request["checkpoints_dir"]), training)
            cluster.remove_node(nodes[1], allow_graceful=False)
            _add_node(cluster)
            ended, trained = training.result(timeout=300)
        # What a killed step left behind would write the same checkpoints; another installation's job is none of ours.
        assert (_status(address, left), _status(address, other)) == ("STOPPED", "RUNNING")
    assert ended.success
    assert trained[0]["resumed_from_step"] >= 5
    for same in ("adapter_id", "steps", "curve", "base_kl_divergence"):
        assert trained[0][same] == whole[same]


def _sleeping_job(address: str, data_dir: Path) -> str:
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(address)
    return str(client.submit_job(entrypoint="exec sleep 600", metadata={INSTALLATION: str(data_dir)}))


def _status(address: str, job: str) -> str:
    from ray.job_submission import JobSubmissionClient

    return str(JobSubmissionClient(address).get_job_status(job).value)


def _wait_for_step(step: int, checkpoints: Path, training: Future[Any]) -> None:
    while not list(checkpoints.glob(f"*/checkpoint-{step}/complete.json")):
        assert not training.done()
        time.sleep(0.01)
