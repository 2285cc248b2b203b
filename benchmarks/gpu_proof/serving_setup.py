"""An installation that serves a random model: a release, supervisor and gateway, and the engine that this machine has."""

import asyncio
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.batching_server import NAME, write_interpreter
from benchmarks.gpu_proof.results import Figures, SliceRun, is_importable
from benchmarks.serving_load import Reached, reach_engine, run_burst
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.core.releases.release_folders import WEIGHTS
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets.serving.services import start_services, stop_services

SERVICES = ("supervisor", "gateway")
SYSTEM = "You write short visit notes."
START_SECONDS = 240.0
_STOP_SECONDS = 10.0
"""For each service and each engine. The runner waits for all of them before it kills the slice."""
MODULES = (
    "fastapi",
    "uvicorn",
    "httptools",
    "sqlalchemy",
    "alembic",
    "cryptography",
    "securesystemslib",
    "aiohttp",
)
"""What supervisor, gateway and ledger import; without them nothing can be served."""


@dataclass(frozen=True)
class Serving:
    settings: Settings
    ledger: Ledger
    base: Path
    engine: str
    """The program that generates, in words."""
    gateway: Reached

    def make_release(self, number: int) -> str:
        """A promoted, signed release of the model; its prompt says `number`. The weights are hard links: nothing is written to
        them here, and a copy of 16 GB takes a minute."""
        from fine_tune_assets_tests.serving.tiny_releases import put_release

        def fill(folder: Path) -> None:
            shutil.copytree(self.base, folder / WEIGHTS, copy_function=_link)

        contract = read_prompt_contract(self.base, system_prompt(number))
        return put_release(self.settings, self.ledger, contract, fill, engine="vllm", number=number)

    def deploy(self, number: int) -> None:
        keep = timedelta(hours=1)
        deploy_release(self.ledger, self.make_release(number), timeout_seconds=START_SECONDS, retention=lambda: keep)

    def engine_alone(self, number: int) -> Reached:
        return reach_engine(self.settings, self.ledger, system_prompt(number))


def system_prompt(number: int) -> str:
    return f"{SYSTEM} Release {number}."


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def choose_engine(scratch: Path, dry: bool) -> tuple[str, str]:
    """The Python for `vllm.python`, and the engine's name: vLLM from `.venv-vllm` or from this environment, else the kit's
    engine."""
    own = load_settings().vllm_interpreter
    if own.is_file() and not dry:  # on a CPU, vLLM takes minutes to start
        return str(own), "vLLM"
    if is_importable("vllm") and not dry:
        return sys.executable, "vLLM"
    return str(write_interpreter(scratch / "batching-engine")), NAME


def open_gateway(proof: SliceRun, stack: ExitStack, scratch: Path, base: Path, name: str) -> Serving | None:
    """The part `name` of a slice: services and the first release are up until `stack` closes. None if it failed."""
    opened: list[Serving] = []

    def start() -> Figures:
        began = time.monotonic()
        serving = stack.enter_context(running_gateway(scratch, base, proof.dry))
        ready = time.monotonic()
        serving.deploy(1)
        live = time.monotonic()
        for where in (serving.engine_alone(1), serving.gateway):
            asyncio.run(run_burst(where, 2, 4))  # a new engine is slower at first
        opened.append(serving)
        return {"engine": serving.engine, "service_seconds": ready - began, "engine_seconds": live - ready}

    # The engine does not outlive this process, so every run starts it.
    proof.part(name, start, modules=MODULES, minimum_seconds=90, is_repeated=True)
    return opened[0] if opened else None


@contextmanager
def running_gateway(scratch: Path, base: Path, dry: bool) -> Iterator[Serving]:
    """Supervisor and gateway, without a release. `base`: on the same disk as `scratch`."""
    folder = scratch / "serving"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    python, engine = choose_engine(folder, dry)
    settings = Settings(
        data_dir=folder,
        gateway={"port": free_port()},
        vllm={"python": python, "kv_cache_gb": 0 if dry else 2},
        engine={"memory_reserve_gb": 0 if dry else 1},
        rollback={"window_minutes": 60, "keep_previous_minutes": -1},
    )
    ledger = open_ledger(settings)

    def stop_first(*_: Any) -> None:
        """Interrupted, the event loop waits for its threads, such as a switch, longer than the runner waits for the slice."""
        stop_services(settings, SERVICES, _STOP_SECONDS)
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop_first)
    try:
        start_services(settings, SERVICES)
        key = create_key(ledger, "gpu-proof", ["chat"]).secret
        gateway = Reached(f"http://127.0.0.1:{settings.gateway.port}/v1", key)
        yield Serving(settings, ledger, base, engine, gateway)
    finally:
        stop_services(settings, SERVICES, _STOP_SECONDS)
        signal.signal(signal.SIGTERM, previous)
        ledger.close()
