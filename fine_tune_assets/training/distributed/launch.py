"""Runs a training: as one process, or as several ranks on this machine that it starts, follows and ends together.

Owns the processes. They meet through a file in a private folder and over the loopback interface:
torch's own launchers open a port on every interface, which anyone in the network may speak to. Imports nothing heavy: each rank
does.
"""

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import require_folder
from fine_tune_assets.core.processes.parent import parent_variable
from fine_tune_assets.core.processes.worker import ERROR, FOR_PEOPLE, RESULT, read_answer
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.training.failures import UnfitSettingsError


def loss_curve_png(curve: Sequence[dict[str, float]]) -> str:
    """PNG of training and validation loss over steps, base64, below 50 KB."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), dpi=80, layout="constrained")
    axes = figure.subplots()
    for name, label in (("loss", "training"), ("eval_loss", "validation")):
        points = [(point["step"], point[name]) for point in curve if name in point]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o" if name == "eval_loss" else None, label=label)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss (nats per supervised token)")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


MODULE = "fine_tune_assets.training.distributed.rank"
REQUEST = "request.json"
STORE, TOLD = "store", "told"
"""The files through which the ranks find each other, and the first one tells its progress."""
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
CLUSTER = "cluster"
"""Key of a request: what each rank takes of the cluster (`gpus`, `cpus`), and how long it is waited for (`wait_seconds`)."""
RANK_WAIT_SECONDS = 1800
"""How long a rank waits for another one: loading a large model takes one longer than another. One that is gone is noticed at
once."""
LAST_WORDS_SECONDS = 5.0
"""How long the other ranks of one that failed may take to say why: often they only notice that it is gone."""


class RankError(FineTuneError):
    """What a rank said went wrong, in its own words."""


def answer_file(folder: Path, rank: int) -> Path:
    return folder / f"answer-{rank}.json"


def train_on_this_machine(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The first rank's result. Raises RankError or UnfitSettingsError if one failed, and ends this process if one was killed."""
    count = int(request["settings"]["processes"])
    threads = (int(request["threads"]) or os.cpu_count() or 1) // count
    with tempfile.TemporaryDirectory(prefix="ranks-") as name:
        folder = Path(name)
        write_text(folder / REQUEST, json.dumps({**request, "threads": max(1, threads)}))
        with told_aloud(folder, progress), _started(folder, count) as ranks:
            codes = _exit_codes(ranks)
        answers = [read_answer(answer_file(folder, rank)) for rank in range(count)]
    return result_of(answers, codes)


@contextmanager
def _started(folder: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The ranks. None outlives this."""
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            ranks.append(_start(folder, rank, count))
        yield ranks
    finally:
        for started in ranks:
            started.kill()
        for started in ranks:
            started.wait()


def _start(folder: Path, rank: int, count: int) -> subprocess.Popen[bytes]:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    environment = {
        **os.environ,
        **parent_variable(),
        **LOOPBACK,
        **{name: str(number) for name, number in numbers.items()},
    }
    return subprocess.Popen([sys.executable, "-m", MODULE, str(folder)], env=environment)


def _exit_codes(ranks: Sequence[subprocess.Popen[bytes]]) -> list[int | None]:
    """Once all ranks have ended, or one failed and the others had time to say why: None for one that still runs."""
    deadline = float("inf")
    while None in (codes := [rank.poll() for rank in ranks]) and time.monotonic() < deadline:
        if any(codes):
            deadline = min(deadline, time.monotonic() + LAST_WORDS_SECONDS)
        time.sleep(0.1)
    return codes


def telling(folder: Path) -> Progress:
    """Progress of the first rank, wherever it runs: written to a file in the folder that `told_aloud` reads."""

    def tell(done: int, total: int, what: str) -> None:
        with (folder / TOLD).open("a", encoding="utf-8") as told:
            told.write(json.dumps({"done": done, "total": total, "what": what}) + "\n")

    return tell


@contextmanager
def told_aloud(folder: Path, progress: Progress) -> Iterator[None]:
    """Pass on what the first rank tells while the block runs."""
    ended = threading.Event()
    (folder / TOLD).touch()

    def tell() -> None:
        with (folder / TOLD).open(encoding="utf-8") as told:
            held, is_last = "", False
            while not is_last:
                is_last = ended.wait(0.5)
                *lines, held = (held + told.read()).split("\n")
                for line in lines:
                    progress(**json.loads(line))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def result_of(answers: Sequence[dict[str, Any] | None], codes: Sequence[int | None]) -> dict[str, Any]:
    """The first rank's result, by what each rank answered and its exit code."""
    killed = [f"{rank} by signal {-code}" for rank, code in enumerate(codes) if code and code < 0]
    errors = [answer for answer in answers if answer is not None and ERROR in answer]
    said = [answer for answer in errors if answer[FOR_PEOPLE]] or errors
    if said and (said[0][FOR_PEOPLE] or not killed):
        # What a sweep may go on from keeps its name.
        kind = UnfitSettingsError if said[0].get("type") == UnfitSettingsError.__name__ else RankError
        raise kind(str(said[0][ERROR]))
    if answers[0] is None or RESULT not in answers[0] or any(codes):
        # Without an answer, as one that was killed itself: the step starts a training again that was killed.
        raise SystemExit(f"Ranks ended without a result; killed: {', '.join(killed) or 'none'}.")
    return dict(answers[0][RESULT])


def train_as_one(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """As the only process, or as one of the ranks."""
    require_folder(Path(request["base_folder"]), request["base_fingerprint"], "base model")
    from fine_tune_assets.recipes.schema import TrainingSettings
    from fine_tune_assets.training.lora.training_engines import library_versions, prepare_engine

    settings = TrainingSettings(**request["settings"])
    # Before anything below imports TRL, transformers or PEFT.
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
        tensorboard_dir=Path(request["tensorboard_dir"]),
    )
    return {
        **asdict(result),
        "folder": str(result.folder),
        "curve_png": loss_curve_png(result.curve),
        "engine": settings.engine,
        "device": best_device(),
        "libraries": library_versions(settings.engine),
    }
