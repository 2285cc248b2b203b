"""Posts corrections to a gateway process that is killed repeatedly, and compares the ledger with the acknowledgements.

Used by the test and by `make bench-corrections`.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.correction_records import list_corrections
from fine_tune_assets_tests.ledger.ledger_rows import owned_key, record_promoted
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

RELEASE = "r-1"
_GIVE_UP_SECONDS = 120


@dataclass
class Outcome:
    acknowledged: dict[int, str] = field(default_factory=dict)
    """Number of the post → acknowledged id."""
    seconds: list[float] = field(default_factory=list)
    """Duration of each acknowledged request."""
    sent_again: int = 0
    kills: int = 0
    total_seconds: float = 0.0
    lost: int = 0
    """Acknowledged, but not in the ledger with this id and text."""
    twice: int = 0
    """In the ledger more than once."""


class KilledGateway:
    """A separate gateway process."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._process = settings, self._start(settings)

    @staticmethod
    def _start(settings: Settings) -> subprocess.Popen[bytes]:
        own = {"DATA_DIR": settings.data_dir, "GATEWAY_PORT": settings.gateway.port, "CORRECTIONS_DAILY_LIMIT": 0}
        environment = {**os.environ, **OFFLINE_ENVIRONMENT, **{f"FINE_TUNE_{n}": str(v) for n, v in own.items()}}
        command = [sys.executable, "-m", "fine_tune_assets.cli.main", "run", "gateway"]
        with (settings.data_dir / "gateway.log").open("ab") as log:
            return subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """Send SIGKILL, so that nothing is flushed or closed."""
        self._process.kill()
        self._process.wait()

    def start_again(self) -> None:
        self._process = self._start(self._settings)


@contextmanager
def _running(settings: Settings) -> Iterator[KilledGateway]:
    gateway = KilledGateway(settings)
    try:
        yield gateway
    finally:
        gateway.kill()


def post_under_kills(settings: Settings, posts: int, kills: int, clients: int, seed: int) -> Outcome:
    """Send `posts` corrections, each until it is acknowledged, while the gateway is killed `kills` times."""
    ledger, outcome, lock = fresh_ledger(settings), Outcome(), threading.Lock()
    record_promoted(ledger, RELEASE)
    key = owned_key(ledger, "durability", ["correct"]).secret
    draws = random.Random(seed)
    stops = sorted(draws.sample(range(1, posts - clients), kills))
    started = time.monotonic()

    def client(numbers: list[int]) -> None:
        with httpx.Client(timeout=_GIVE_UP_SECONDS, trust_env=False) as http:
            for number in numbers:
                _post_until_kept(http, settings, key, number, outcome, lock)

    with _running(settings) as gateway, ThreadPoolExecutor(clients) as pool:
        working = [pool.submit(client, list(range(first, posts, clients))) for first in range(clients)]
        for stop in stops:
            while len(outcome.acknowledged) < stop and not all(one.done() for one in working):
                time.sleep(0.001)
            time.sleep(draws.uniform(0, 0.03))
            gateway.kill()
            outcome.kills += 1
            gateway.start_again()
        for one in working:
            one.result()
        outcome.total_seconds = time.monotonic() - started
    _compare(settings, outcome)
    ledger.close()
    return outcome


def _post_until_kept(
    http: httpx.Client, settings: Settings, key: str, number: int, outcome: Outcome, lock: threading.Lock
) -> None:
    texts = {"instruction": "Which dose?", "input": "", "answer": "None.", "corrected_answer": f"Dose number {number}."}
    url = f"http://{settings.gateway.host}:{settings.gateway.port}/v1/corrections"
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"post-{number}"}
    give_up = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < give_up:
        sent = time.monotonic()
        with suppress(httpx.TransportError):
            reply = http.post(url, json={"release_id": RELEASE, **texts}, headers=headers)
            if reply.status_code == 201:
                with lock:
                    outcome.acknowledged[number] = reply.json()["id"]
                    outcome.seconds.append(time.monotonic() - sent)
                return
        with lock:
            outcome.sent_again += 1
        time.sleep(0.1)
    raise TimeoutError(f"Post {number} was not acknowledged in {_GIVE_UP_SECONDS} seconds.")


def _compare(settings: Settings, outcome: Outcome) -> None:
    """Read the ledger like a gateway that starts afterwards."""
    ledger = fresh_ledger(settings)
    kept = list_corrections(ledger, read_or_create_key(Path(settings.layout.keys), KEY_NAME))
    ledger.close()
    texts = {correction.correction_id: correction.corrected_answer for correction in kept}
    outcome.lost = sum(texts.get(own) != f"Dose number {number}." for number, own in outcome.acknowledged.items())
    times = Counter(correction.corrected_answer for correction in kept)
    outcome.twice = sum(count > 1 for count in times.values())
