"""What tests of more than one package need: a small installation of their own, and a real PostgreSQL server.

Owns the small installation: its folders, its recipe, and dropping batches into it. The sample in `data/` is the input.
"""

import csv
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import hypothesis
import pytest
import yaml

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import OFFLINE_ENVIRONMENT, PREFIX
from fine_tune_assets.recipes.loading import shipped_recipes
from fine_tune_assets_tests.base_model import smollm2
from fine_tune_assets_tests.postgres import postgres_server
from fine_tune_assets_tests.training.forked_trainings import trainings

__all__ = ["postgres_server", "smollm2", "trainings"]

# Nothing is timed in a test: a first call that imports something would fail now and then.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

SAMPLE = PROJECT_DIR / "data"
DIALOGUES = SAMPLE / "raw_reports" / "2026-02-dialogues"
LABELLED_ROWS = 6
"""Of each labelled set."""
SMALL_SPLIT = {"validation_fraction": 0.25, "test_fraction": 0.25, "minimum_examples": 6}


WHOLE_GRAPH = re.compile(r"/end_to_end/test_(air_gap|whole_graph)\.py")
"""They share an installation on which the whole graph ran."""
USE_THE_REAL_MODEL = re.compile(
    r"/(judging|merging|training)/|/engines/test_continuations\.py|/approval/test_writing\.py|/defs/test_(killed_training|model_drafts)\.py"
)
STORIES = re.compile(r"/end_to_end/|/defs/test_(ingest_flow|sweeps|training_on_a_ray_cluster)\.py")
"""Each takes a minute or more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: with two workers, a long one that comes last leaves the other worker idle."""
    items.sort(key=lambda item: STORIES.search(f"/{item.nodeid}") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where workers run side by side, one takes all that uses the real model (it is imported once), the other one the whole
    graph (it is made once); then both take what is left.

    Not by `xdist_group`: pytest-xdist 3.8 writes it into an attribute that pytest 9.2 no longer has, and groups nothing.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByWhatIsShared(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if WHOLE_GRAPH.search(f"/{nodeid}"):
                return "whole graph"
            return "real model" if USE_THE_REAL_MODEL.search(f"/{nodeid}") else nodeid

    return ByWhatIsShared(config, log)


@pytest.fixture
def installation_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a small installation without any batch; the environment names it, its recipe and its home."""
    data, home = tmp_path / "data", tmp_path / "dagster"
    for folder in (data / "raw_reports", data / "keys", home):
        folder.mkdir(parents=True, mode=0o700)
    shutil.copytree(SAMPLE / "general", data / "general")
    shutil.copytree(SAMPLE / "evaluation", data / "evaluation")
    for labelled in (data / "evaluation" / "phi").glob("*.jsonl"):
        _keep_lines(labelled, LABELLED_ROWS)
    # A fixed key: it decides the patients' splits, and with a random one a split would be empty now and then.
    (data / "keys" / "patients.key").write_bytes(b"k" * 32)
    (data / "keys" / "patients.key").chmod(0o600)
    shutil.copy(PROJECT_DIR / "dagster.yaml", home)
    for name in [n for n in os.environ if n.startswith((PREFIX, "DAGSTER_"))]:
        monkeypatch.delenv(name)
    environment = {"DATA_DIR": data, "RECIPE": write_recipe(data), "DAGSTER_HOME": home, "THREADS": 2}
    for name, value in environment.items():
        monkeypatch.setenv(PREFIX + name, str(value))
    for name, text in {**OFFLINE_ENVIRONMENT, "DAGSTER_HOME": str(home)}.items():
        monkeypatch.setenv(name, text)
    return data


@pytest.fixture
def instance(installation_dir: Path) -> Iterator[dg.DagsterInstance]:  # noqa: ARG001
    """The real instance of the small installation's own home."""
    with dg.DagsterInstance.get() as opened:
        yield opened


def write_recipe(data: Path, **changes: Mapping[str, Any]) -> Path:
    """Write the installation's recipe: the demo's, small enough for a few reports, with `changes` of its sections."""
    values = yaml.safe_load(shipped_recipes()["demo_smollm2"].read_text(encoding="utf-8"))
    for section, changed in {"split": SMALL_SPLIT, **changes}.items():
        values[section] = {**values.get(section, {}), **changed}
    path = data / "recipe.yaml"
    replace_file(path, yaml.safe_dump(values).encode())
    return path


def drop_dialogues(data: Path, batch: str, first: int, count: int, edit: Callable[[str], str] = str) -> Path:
    """Drop a batch of `count` of the sample's dialogues from number `first` on, as people do: whole, at once."""
    with (DIALOGUES / "visits.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    chosen = rows[first : first + count]
    assert len(chosen) == count, "The sample has fewer dialogues."
    folder = data / "raw_reports" / f"{batch}.partial"
    folder.mkdir()
    shutil.copy(DIALOGUES / "batch.yaml", folder)
    with (folder / "visits.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *([edit(cell) for cell in row] for row in chosen)])
    return folder.rename(data / "raw_reports" / batch)


def replace_file(path: Path, content: bytes) -> None:
    """Put a new file in the place of an old one, as an editor does."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(content)
    aside.rename(path)


def _keep_lines(path: Path, count: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:count]), encoding="utf-8")
