"""Runs a training as one process, or starts, monitors and stops several ranks on this machine.

The ranks meet through a file in a private folder and communicate over loopback, because torch's launchers open a port on every
interface. Heavy libraries are imported only by the ranks.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import require_unchanged_folder
from fine_tune_assets.core.plots import make_figure, to_png
from fine_tune_assets.core.processes.parent import parent_environment
from fine_tune_assets.core.processes.worker import ERROR, IS_USER_FACING, RESULT, read_response
from fine_tune_assets.core.processes.worker_requests import TrainRequest
from fine_tune_assets.core.progress import Progress


def training_curve_png(curve: Sequence[Mapping[str, float]]) -> str:
    """PNG of training loss, validation loss and learning rate over steps, base64, below 50 KB."""
    figure, (losses, rates) = make_figure(9, 3.2, columns=2)
    for axes, name, label in (
        (losses, "loss", "training"),
        (losses, "eval_loss", "validation"),
        (rates, "learning_rate", "learning rate"),
    ):
        points = [(point["step"], point[name]) for point in curve if name in point]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o" if name == "eval_loss" else None, label=label)
    losses.set_ylabel("loss (nats per supervised token)")
    losses.legend()
    rates.set_ylabel("learning rate")
    for axes in (losses, rates):
        axes.set_xlabel("optimizer step")
    return base64.b64encode(to_png(figure)).decode("ascii")


RANK_MODULE = "fine_tune_assets.training.distributed.rank"
REQUEST_FILE = "request.json"
STORE_FILE, PROGRESS_FILE = "store", "progress"
"""The rendezvous file of the ranks, and the file for the first rank's progress."""
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
CLUSTER: Final = "cluster"
"""Request key of RankResources."""
RANK_WAIT_SECONDS = 1800
"""Timeout between ranks, because loading a large model takes different times. A rank that exits is noticed at once."""
FAILURE_GRACE_SECONDS = 5.0
"""Time for the other ranks to report an error after one failed: often they only notice the lost connection."""


class RankError(FineTuneError):
    """The error message of a rank."""


def response_file(folder: Path, rank: int) -> Path:
    return folder / f"answer-{rank}.json"


def train_locally(request: TrainRequest, progress: Progress) -> dict[str, Any]:
    """The first rank's result. Raises RankError if a rank failed; exits this process if one was killed."""
    count = int(request["settings"]["processes"])
    threads = (request["threads"] or os.cpu_count() or 1) // count
    with tempfile.TemporaryDirectory(prefix="ranks-") as name:
        folder = Path(name)
        write_text(folder / REQUEST_FILE, json.dumps({**request, "threads": max(1, threads)}))
        with forward_progress(folder, progress), _running_ranks(folder, count) as ranks:
            codes = _wait_for_exit(ranks)
        answers = [read_response(response_file(folder, rank)) for rank in range(count)]
    return combine_answers(answers, codes)


@contextmanager
def _running_ranks(folder: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the ranks, and stop them on exit."""
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            ranks.append(_start_rank(folder, rank, count))
        yield ranks
    finally:
        for started in ranks:
            started.kill()
        for started in ranks:
            started.wait()


def _start_rank(folder: Path, rank: int, count: int) -> subprocess.Popen[bytes]:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    environment = {
        **os.environ,
        **parent_environment(),
        **LOOPBACK,
        **{name: str(number) for name, number in numbers.items()},
    }
    return subprocess.Popen([sys.executable, "-m", RANK_MODULE, str(folder)], env=environment)


def _wait_for_exit(ranks: Sequence[subprocess.Popen[bytes]]) -> list[int | None]:
    """Exit codes after all ranks have exited, or after one failed and a grace period; None for a rank that still runs."""
    deadline = float("inf")
    while None in (codes := [rank.poll() for rank in ranks]) and time.monotonic() < deadline:
        if any(codes):
            deadline = min(deadline, time.monotonic() + FAILURE_GRACE_SECONDS)
        time.sleep(0.1)
    return codes


def progress_writer(folder: Path) -> Progress:
    """Writes the first rank's progress to the file that `forward_progress` reads."""

    def report(done: int, total: int, what: str) -> None:
        with (folder / PROGRESS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"done": done, "total": total, "what": what}) + "\n")

    return report


@contextmanager
def forward_progress(folder: Path, progress: Progress) -> Iterator[None]:
    """Forward the first rank's progress while the block runs."""
    ended = threading.Event()
    (folder / PROGRESS_FILE).touch()

    def forward() -> None:
        with (folder / PROGRESS_FILE).open(encoding="utf-8") as file:
            rest, is_last = "", False
            while not is_last:
                is_last = ended.wait(0.5)
                *lines, rest = (rest + file.read()).split("\n")
                for line in lines:
                    progress(**json.loads(line))

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def combine_answers(answers: Sequence[dict[str, Any] | None], codes: Sequence[int | None]) -> dict[str, Any]:
    """The first rank's result. `codes`: exit codes of the ranks."""
    killed = [f"{rank} by signal {-code}" for rank, code in enumerate(codes) if code and code < 0]
    errors = [answer for answer in answers if answer is not None and ERROR in answer]
    causes = [answer for answer in errors if answer[IS_USER_FACING]] or errors
    if causes and (causes[0][IS_USER_FACING] or not killed):
        raise RankError(str(causes[0][ERROR]))
    if answers[0] is None or RESULT not in answers[0] or any(codes):
        # Exit without an answer, as if this process was killed, because Dagster restarts killed trainings.
        raise SystemExit(f"Ranks exited without a result; killed: {', '.join(killed) or 'none'}.")
    return dict(answers[0][RESULT])


def train_in_process(request: TrainRequest, progress: Progress) -> dict[str, Any]:
    """Train in this process, as the only one or as one rank."""
    require_unchanged_folder(Path(request["base_folder"]), request["base_fingerprint"], "base model")
    from fine_tune_assets.recipes.schema import TrainingSettings
    from fine_tune_assets.training.lora.training_engines import library_versions, prepare_engine

    settings = TrainingSettings(**request["settings"])
    # This must precede any import of TRL, transformers or PEFT.
    prepare_engine(settings.engine)
    from fine_tune_assets.engines.transformers_models import best_device
    from fine_tune_assets.training.lora.trainer import train_adapter

    result = train_adapter(
        instruction_set=pq.read_table(request["instruction_set"]),
        base_folder=Path(request["base_folder"]),
        base_fingerprint=request["base_fingerprint"],
        adapters_dir=Path(request["adapters_dir"]),
        checkpoints_dir=Path(request["checkpoints_dir"]),
        settings=settings,
        threads=request["threads"],
        progress=progress,
    )
    return {
        **asdict(result),
        "folder": str(result.folder),
        "curve_png": training_curve_png(result.curve),
        "engine": settings.engine,
        "device": best_device(),
        "libraries": library_versions(settings.engine),
    }
