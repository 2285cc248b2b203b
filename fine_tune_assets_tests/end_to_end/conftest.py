"""A small installation on which the whole graph runs in a few minutes, and services on separate ports."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Page

from fine_tune_assets.cli.demo.summary import read_summary
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.recipes.loader import shipped_recipes
from fine_tune_assets_tests.conftest import SAMPLE, drop_dialogues
from fine_tune_assets_tests.desk.conftest import browser
from fine_tune_assets_tests.system_programs import IPROUTE2, require_program

__all__ = ["browser"]

REPORTS_A_BATCH = 30
SMALL = {
    "split": {"minimum_examples": 20, "test_fraction": 0.36, "validation_fraction": 0.1, "salt": "end-to-end"},
    "training": {
        "epochs": 1,
        "max_length": 160,
        "batch_size": 4,
        "learning_rate": 5.0e-4,
        "overlong_examples": "exclude",
    },
    "judge": {"test_examples": 12, "max_new_tokens": 24, "ability_items": 4, "robustness_items": 1, "batch_size": 8},
    # Nine training steps can't produce a clear gain: this gate stops only a much worse candidate.
    "gate": {
        "minimum_examples": 5,
        "minimum_group_examples": 7,
        "maximum_group_loss": 9.0,
        "yearly_false_promotions": 1.0,
        "verdicts_per_year": 1,
        "maximum_ability_loss": 0.6,
        "minimum_gain": -5.0,
        "maximum_check_loss": 1.0,
        "maximum_robustness_loss": 1.0,
    },
    "scrub": {"recall_floor": 0.5, "direct_recall_floor": 0.5},
    "corrections": {"minimum_new": 5},
    # Would train a second time for each candidate; covered by test_memorization_probes.py.
    "planted_secrets": {"enabled": False},
}
"""The demo's recipe with fewer examples; every stage is real."""


# The kernel counts unroutable packets: every attempt of every program, including DNS look-ups.
ATTEMPTS = (
    "awk '/^Ip:/ && $13 ~ /[0-9]/ {n += $13} /^Ip6OutNoRoutes/ {n += $2} END {print n}' /proc/net/snmp /proc/net/snmp6"
)
PROBE = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
"""Sends to a documentation address (RFC 5737), which reaches no host: shows that attempts are counted."""
COMMANDS = f"""
ip link set lo up
for command in demo demo up status down down; do
    echo "== $command"
    "$0" -m fine_tune_assets.cli.main $command
done
echo "== attempts"; {ATTEMPTS}
"$0" -c "{PROBE}" 2>/dev/null || echo "== attempts with a probe"; {ATTEMPTS}
"""
ALONE = ("unshare", "-rn", "sh", "-ec", COMMANDS)
Served = tuple["Small", str]


class Small:
    """An installation: its folder, its recipe, and the environment that points to both."""

    project = PROJECT_DIR

    def __init__(self, root: Path, recipe: str = "demo_smollm2") -> None:
        self.recipe = recipe
        self.data, self.home = root / "data", root / "dagster"
        for folder in (self.data / "raw_reports", self.data / "keys", self.home):
            folder.mkdir(parents=True, mode=0o700)
        shutil.copytree(SAMPLE / "general", self.data / "general")
        shutil.copytree(SAMPLE / "evaluation", self.data / "evaluation")
        gold = self.data / "evaluation" / "phi" / "asq_phi.jsonl"
        for other in set(gold.parent.glob("*.jsonl")) - {gold}:
            other.unlink()
        gold.write_text("".join(gold.read_text(encoding="utf-8").splitlines(keepends=True)[:20]), encoding="utf-8")
        # A fixed key, because it determines the splits of the subjects.
        (self.data / "keys" / "subjects.key").write_bytes(b"k" * 32)
        (self.data / "keys" / "subjects.key").chmod(0o600)
        shutil.copy(PROJECT_DIR / "dagster.yaml", self.home)
        for number in range(2):
            drop_dialogues(
                self.data, f"2026-0{number + 1}-dialogues", first=number * REPORTS_A_BATCH, count=REPORTS_A_BATCH
            )
        self.write_recipe()
        for path in (root, *root.rglob("*")):  # so that every open file is one that the platform wrote
            path.chmod(path.stat().st_mode & 0o700)
        self.ports = free_port(), free_port()

    def write_recipe(self, **changes: Mapping[str, Any]) -> None:
        values = yaml.safe_load(shipped_recipes()[self.recipe].read_text(encoding="utf-8"))
        for settings in (SMALL, changes):
            for section, changed in settings.items():
                values[section] = {**values.get(section, {}), **changed}
        (self.data / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "DATA_DIR": self.data,
            "RECIPE": self.data / "recipe.yaml",
            "DAGSTER_HOME": self.home,
            "GATEWAY_PORT": self.ports[0],
            "DESK_PORT": self.ports[1],
            "THREADS": 1,  # imports take half of the time, so another worker uses a second core better
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, "DAGSTER_"))}
        named = {PREFIX + name: str(value) for name, value in own.items()}
        return {**kept, **OFFLINE_ENVIRONMENT, **named, "DAGSTER_HOME": str(self.home)}

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.project,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def processes(self) -> list[str]:
        """Ids of the processes of this installation."""
        own = str(self.data).encode()
        return [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if own in _read(path)]


def _read(environ: Path) -> bytes:
    try:
        return environ.read_bytes()
    except OSError:
        return b""


@dataclass(frozen=True)
class Day:
    """An installation after a user's first day, and the state at its end. Other tests continue with it."""

    small: Small
    printed: list[tuple[str, str]]
    """Each command and its output, in order."""
    release_id: str
    """The demo's release."""
    left: list[str]
    """Processes that survived `down`."""

    def of(self, command: str) -> list[str]:
        return [text for name, text in self.printed if name == command]


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Run the whole graph with loopback as the only network. The base model is imported from its package in that run."""
    require_program(IPROUTE2)
    small = Small(tmp_path_factory.mktemp("alone"))
    try:
        done = subprocess.run(
            [*ALONE, sys.executable],
            env=small.environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=small.project,
            umask=0o022,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
        parts = re.split(r"^== (.+)\n", done.stdout, flags=re.MULTILINE)[1:]
        printed = list(zip(parts[::2], parts[1::2], strict=True))
        yield Day(small, printed, read_summary(small.data / "tables")["release"], small.processes())
    finally:
        small.run("-m", "fine_tune_assets.cli.main", "down")


@pytest.fixture(scope="session")
def served(day: Day) -> Served:
    """The small installation after the whole graph ran, and its release."""
    return day.small, day.release_id


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that is wide enough for the Dagster UI."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()
