"""The installation of the loop: separate folders and ports, built from the sample, and used through `fine-tune` commands."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.correction_loop.clients import LoopError

PROJECT = Path(__file__).resolve().parents[2]
SAMPLE = PROJECT / "data"
BATCH = "raw_reports/2026-02-dialogues"
VISITS = SAMPLE / BATCH / "visits.csv"
RECIPE = "demo_loop"
FINE_TUNE = Path(sys.executable).with_name("fine-tune")


@dataclass(frozen=True)
class Installation:
    """An installation as its users see it: settings in the environment and the `fine-tune` command."""

    environment: Mapping[str, str]

    def setting(self, name: str) -> str:
        return self.environment[f"FINE_TUNE_{name}"]

    def fine_tune(self, *words: str, stdin: str | None = None) -> str:
        """Run `fine-tune WORDS…` and return what it prints. Raises LoopError with its error message."""
        command = [str(FINE_TUNE), *words]
        done = subprocess.run(command, env=self.environment, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoopError(f"`fine-tune {' '.join(words)}` ended with status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def verdicts(self, limit: int) -> list[dict[str, Any]]:
        """Newest first."""
        found: list[dict[str, Any]] = json.loads(self.fine_tune("verdicts", "list", "--json", "--limit", str(limit)))
        return found

    def materialize(self) -> bool:
        """Run the graph with progress on the terminal. False if a step failed or the candidate was not promoted."""
        return subprocess.run([str(FINE_TUNE), "materialize"], env=self.environment, check=False).returncode == 0

    def key(self, name: str, *scopes: str, user: str | None = None) -> str:
        options = [word for scope in scopes for word in ("--scope", scope)]
        options += ["--user", user] if user is not None else []
        return self.fine_tune("keys", "create", name, *options).strip()


def make_installation(root: Path, visits: Sequence[Mapping[str, str]]) -> Installation:
    """Create an installation in a new folder on free ports, with one batch of visits and the sample's other data."""
    data, home, batch = root / "data", root / "dagster", root / "data" / BATCH
    for folder in (data, data / "keys", home):
        folder.mkdir(parents=True, mode=0o700)
    for part in ("general", "evaluation"):
        shutil.copytree(SAMPLE / part, data / part)
    shutil.copytree(SAMPLE / BATCH, batch)
    with (batch / "visits.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(visits[0]))
        writer.writeheader()
        writer.writerows(visits)
    shutil.copy(PROJECT / "dagster.yaml", home)
    # The key determines the test split. A random key would give a different first release in each run.
    key = data / "keys" / "subjects.key"
    key.touch(mode=0o600)
    key.write_bytes(b"the key of a demo, of no patient")
    ports = dict(zip(("GATEWAY_PORT", "DESK_PORT"), _free_ports(2), strict=True))
    own = {"DATA_DIR": data, "DAGSTER_HOME": home, "RECIPE": RECIPE, **ports}
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FINE_TUNE_", "DAGSTER_")) or name == "FINE_TUNE_THREADS"
    }
    return Installation(others | {f"FINE_TUNE_{name}": str(value) for name, value in own.items()})


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
