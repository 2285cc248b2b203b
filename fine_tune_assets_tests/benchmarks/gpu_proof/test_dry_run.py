"""Every slice runs on a CPU with tiny shapes, and without the packages that a bare target lacks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.gpu_proof.__main__ import run_slice, wait_or_stop
from benchmarks.gpu_proof.publish import publish
from benchmarks.gpu_proof.results import ResultError, SliceResult, read_result, result_file
from benchmarks.gpu_proof.slices import SLICES
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets_tests.benchmarks.gpu_proof.hidden_packages import hidden_modules, hidden_packages

SKIPPED = {"qlora": {"unsloth_qlora"}, "gpu_tests": {"test_unsloth"}}
"""Unsloth is not installed, and its test needs Dagster."""
BARE_TARGET = Path(__file__).with_name("bare_target")


class DryRuns:
    """Runs slices with one folder of results and one of models, as `make gpu-proof DRY=1` does."""

    def __init__(self, folder: Path) -> None:
        self.out, self.scratch = folder / "results", folder / "scratch"
        hidden = folder / "hidden"
        values = {"modules": hidden_modules(), "packages": hidden_packages()}
        hidden.write_text(json.dumps(values), encoding="utf-8")
        search = os.pathsep.join((str(BARE_TARGET), str(PROJECT_DIR)))
        self.environment = {**os.environ, "PYTHONPATH": search, "BARE_TARGET_HIDDEN": str(hidden)}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        folders = ["--out", str(self.out), "--scratch", str(self.scratch)]
        command = [sys.executable, "-m", "benchmarks.gpu_proof", *words, *folders]
        return subprocess.run(
            command, cwd=PROJECT_DIR, env=self.environment, capture_output=True, text=True, check=False
        )

    def result(self, name: str) -> SliceResult:
        return read_result(result_file(self.out, name, dry=True))


@pytest.fixture(scope="module")
def dry_runs(tmp_path_factory: pytest.TempPathFactory) -> DryRuns:
    return DryRuns(tmp_path_factory.mktemp("gpu-proof"))


def test_the_target_lacks_the_graph_and_the_scrubber() -> None:
    """Otherwise the dry runs would not show that the slices do without them."""
    assert {"dagster", "presidio_analyzer", "spacy", "vllm"} - set(hidden_modules()) <= {"vllm"}
    assert not {"torch", "transformers", "trl", "fine_tune_assets"} & set(hidden_modules())
    assert {"dagster", "fine-tune-assets"} <= set(hidden_packages())
    assert "transformers" not in hidden_packages()


@pytest.mark.slow
@pytest.mark.parametrize("name", SLICES)
def test_a_slice_runs_dry_on_the_bare_target(dry_runs: DryRuns, name: str) -> None:
    """The kit must work at once when a GPU is at hand: nothing else runs its code."""
    done = dry_runs.run(name, "--dry")
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"dry": True, "exit_status": {name: 0}}
    result = dry_runs.result(name)
    assert result.dry
    assert result.is_complete
    states = {part: found.state for part, found in result.parts.items()}
    assert {part for part, state in states.items() if state != "measured"} == SKIPPED.get(name, set()), result.parts
    assert not list(dry_runs.out.glob("gpu-*"))


@pytest.mark.slow
def test_no_dry_run_is_published(dry_runs: DryRuns, tmp_path: Path) -> None:
    with pytest.raises(ResultError):
        publish(dry_runs.out, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_no_dry_run_says_that_a_target_was_met(dry_runs: DryRuns) -> None:
    """Figures of tiny models on a CPU are not evidence."""
    verdicts: list[Any] = [
        value
        for name in SLICES
        for part in dry_runs.result(name).parts.values()
        for figure, value in part.figures.items()
        if figure.endswith(("meets_target", "within_plan"))
    ]
    assert len(verdicts) >= 6
    assert set(verdicts) == {None}


@pytest.mark.slow
def test_a_complete_slice_does_not_run_again(dry_runs: DryRuns) -> None:
    before = dry_runs.result("environment")
    assert dry_runs.run("environment", "--dry").returncode == 0
    assert dry_runs.result("environment") == before


@pytest.mark.slow
def test_without_a_gpu_nothing_is_measured(dry_runs: DryRuns) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = dry_runs.run("environment")
    assert done.returncode == 1
    assert not list(dry_runs.out.glob("gpu-*"))


def test_what_a_slice_leaves_behind_is_killed() -> None:
    """A training without its parent would keep the card's memory from the next slice."""
    command = ["sh", "-c", "sleep 300 >/dev/null & echo $!"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert wait_or_stop(process, 60) == 0
    deadline = time.monotonic() + 30  # a killed process ends soon, not at once
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_slice_out_of_time_is_stopped(tmp_path: Path) -> None:
    assert run_slice("environment", tmp_path, tmp_path, dry=True, budget_seconds=0.2) == -signal.SIGTERM
