"""Allows one supervisor per data folder, and cleans up the engines and sockets of a killed one."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import file_lock_within
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import SOCKETS_FOLDER, socket_address
from fine_tune_assets.engines.running_server import recorded_engine_folders, stop_recorded_engine
from fine_tune_assets.engines.shared_vllm import stop_unused
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.serving.deployments import clear_engine
from fine_tune_assets.serving.adapter_releases import shared_root
from fine_tune_assets.serving.fault_tolerance import log_and_continue

ENGINES_FOLDER = "engines"
_LOCK_TIMEOUT_SECONDS = 3.0
"""A supervisor that was just killed releases the lock when its last thread has ended."""


class SupervisorError(FineTuneError):
    """Another supervisor runs on this data folder."""


def stop_orphaned_engines(settings: Settings, grace_seconds: float) -> None:
    """Stop the engines of a killed supervisor. Does nothing while a supervisor runs, such as one started by systemd."""
    try:
        with single_instance_lock(settings.layout.run):
            folders = recorded_engine_folders(settings.layout.run / ENGINES_FOLDER)
            with log_and_continue("withdraw"):  # first, so that the gateway stops sending requests
                _withdraw(settings, [folder.name for folder in folders])
            with ThreadPoolExecutor() as pool:  # in parallel: each may take a minute for its last answers
                list(pool.map(lambda folder: stop_recorded_engine(folder, grace_seconds), folders))
            stop_unused(shared_root(settings))
    except SupervisorError:
        return


def _withdraw(settings: Settings, names: Sequence[str]) -> None:
    if names:
        ledger = open_ledger(settings)
        for name in names:
            clear_engine(ledger, name)
        ledger.close()


def remove_dead_sockets(settings: Settings, addresses: Collection[str]) -> None:
    """Remove sockets of engines that died. `addresses` belong to running engines."""
    for path in (settings.layout.run / SOCKETS_FOLDER).glob("*.sock"):
        if socket_address(path) not in addresses:
            path.unlink(missing_ok=True)


@contextmanager
def single_instance_lock(folder: Path) -> Iterator[None]:
    with file_lock_within(folder / "supervisor.lock", _LOCK_TIMEOUT_SECONDS) as is_locked:
        if not is_locked:
            raise SupervisorError("Another supervisor runs on this data folder. Run `fine-tune down` to stop it.")
        yield
