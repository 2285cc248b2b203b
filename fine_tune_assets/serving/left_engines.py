"""One supervisor on a data folder, and what one that was killed left behind there.

Owns the lock, and ending engines and removing sockets that nobody watches.
"""

import fcntl
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.addresses import socket_address
from fine_tune_assets.engines.running_server import recorded_engines, stop_recorded_engine
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.serving.deployments import withdraw_engine
from fine_tune_assets.serving.engine_start import SOCKETS
from fine_tune_assets.serving.fault_tolerance import going_on

ENGINES = "engines"
_LOCK_SECONDS = 3.0
"""One that was just killed lets go when the last of its threads has ended."""


class SupervisorError(FineTuneError):
    """The supervisor can't run here."""


def stop_left_engines(settings: Settings, grace_seconds: float) -> None:
    """Stop the engines of a supervisor that was killed. One that runs keeps its own: systemd may have started it."""
    try:
        with only_one(settings.layout.run):
            folders = recorded_engines(settings.layout.run / ENGINES)
            with going_on("withdraw"):  # first: else the gateway would go on asking them
                _withdraw(settings, [folder.name for folder in folders])
            with ThreadPoolExecutor() as pool:  # together: each may take a minute for its last answers
                list(pool.map(lambda folder: stop_recorded_engine(folder, grace_seconds), folders))
    except SupervisorError:
        return


def _withdraw(settings: Settings, names: Sequence[str]) -> None:
    if names:
        ledger = open_ledger(settings.database_url)
        for name in names:
            withdraw_engine(ledger, name)
        ledger.close()


def forget_dead_sockets(settings: Settings, addresses: Collection[str]) -> None:
    """Remove the sockets of engines that ended without being stopped; those at `addresses` live."""
    for path in (settings.layout.run / SOCKETS).glob("*.sock"):
        if socket_address(path) not in addresses:
            path.unlink(missing_ok=True)


@contextmanager
def only_one(folder: Path) -> Iterator[Any]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "supervisor.lock").open("w") as lock:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _is_locked_now(lock):
            if time.monotonic() >= deadline:
                raise SupervisorError("Another supervisor runs on this data folder. `fine-tune down` stops it.")
            time.sleep(0.1)
        yield


def _is_locked_now(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
