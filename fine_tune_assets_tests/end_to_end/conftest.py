"""A small installation that the whole graph can run on in a few minutes, and services on ports of their own."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import OFFLINE_ENVIRONMENT, PREFIX
from fine_tune_assets.recipes.loading import shipped_recipes
from fine_tune_assets_tests.conftest import SAMPLE, drop_dialogues

REPORTS_A_BATCH = 30
SMALL = {
    "split": {"minimum_examples": 20, "test_fraction": 0.25, "validation_fraction": 0.1, "salt": "end-to-end"},
    "training": {"epochs": 1, "max_length": 160, "batch_size": 4, "learning_rate": 5.0e-4},
    "judge": {"test_examples": 8, "max_new_tokens": 24, "ability_items": 4, "robustness_items": 1, "batch_size": 8},
    # Nine steps of training can't make it clearly better: here only a much worse candidate is held back.
    "gate": {
        "minimum_examples": 5,
        "maximum_ability_loss": 0.6,
        "minimum_gain": -5.0,
        "maximum_check_loss": 1.0,
        "maximum_robustness_loss": 1.0,
    },
    "scrub": {"recall_floor": 0.5, "direct_recall_floor": 0.5},
    "corrections": {"minimum_new": 5},
    # A second training for each candidate: test_memorization_probes.py has one.
    "canaries": {"enabled": False},
}
"""The demo's recipe with fewer examples: every stage is the real one."""


class Small:
    """One installation: its folder, its recipe, and the environment that names both."""

    project = PROJECT_DIR

    def __init__(self, root: Path, base_model: Path | None = None) -> None:
        """`base_model`: an imported copy of the bundled model, which saves its import."""
        self.data, self.home = root / "data", root / "dagster"
        for folder in (self.data / "raw_reports", self.data / "keys", self.home):
            folder.mkdir(parents=True, mode=0o700)
        shutil.copytree(SAMPLE / "general", self.data / "general")
        shutil.copytree(SAMPLE / "evaluation", self.data / "evaluation")
        gold = self.data / "evaluation" / "phi" / "asq_phi.jsonl"
        for other in set(gold.parent.glob("*.jsonl")) - {gold}:
            other.unlink()
        gold.write_text("".join(gold.read_text(encoding="utf-8").splitlines(keepends=True)[:20]), encoding="utf-8")
        # A fixed key: it decides the patients' splits.
        (self.data / "keys" / "patients.key").write_bytes(b"k" * 32)
        (self.data / "keys" / "patients.key").chmod(0o600)
        shutil.copy(PROJECT_DIR / "dagster.yaml", self.home)
        for number in range(2):
            drop_dialogues(
                self.data, f"2026-0{number + 1}-dialogues", first=number * REPORTS_A_BATCH, count=REPORTS_A_BATCH
            )
        if base_model is not None:
            shutil.copytree(base_model, self.data / "base_models" / base_model.name)
        self.write_recipe()
        self.ports = free_port(), free_port(), free_port()

    def write_recipe(self, **changes: Mapping[str, Any]) -> None:
        values = yaml.safe_load(shipped_recipes()["demo_smollm2"].read_text(encoding="utf-8"))
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
            "DAGSTER_PORT": self.ports[1],
            "DESK_PORT": self.ports[2],
            "THREADS": 1,  # half of the time goes into imports: another worker makes better use of a second core
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, "DAGSTER_"))}
        named = {PREFIX + name: str(value) for name, value in own.items()}
        return {**kept, **OFFLINE_ENVIRONMENT, **named, "DAGSTER_HOME": str(self.home)}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run_whole_graph(self) -> dict[str, Any]:
        """Run the program beside this file; its last line is its result."""
        done = self.run("-m", "fine_tune_assets_tests.end_to_end.run_whole_graph")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-6000:]
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Iterator[tuple[Small, dict[str, Any]]]:
    """A small installation on which the whole graph ran once, and what the run printed."""
    small = Small(tmp_path_factory.mktemp("served"), smollm2)
    yield small, small.run_whole_graph()
    small.run("-m", "fine_tune_assets.cli.main", "down")
