"""The installation of the demo of the loop: a data folder, a Dagster home and ports of its own, so that it touches no other.

Owns making it from the sample and removing it. Removes what it made, and of the folders around it only a temporary one.
"""

import csv
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import make_folder, write_bytes
from fine_tune_assets.core.keys import PATIENTS_KEY
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.engines.running import free_port
from fine_tune_assets.recipes.loading import load_recipe

RECIPE = "demo_loop"
BATCH = "2026-02-dialogues"
SAMPLE = PROJECT_DIR / "data"
VISITS = SAMPLE / "raw_reports" / BATCH / "visits.csv"
_PATIENTS_KEY = b"the key of a demo, of no patient"
"""The same each time: it decides who is tested on, so the first release is the same each time. For made-up installations only."""


class TooFewCorrectionsError(FineTuneError):
    """The demo would wait for a training that never becomes due."""


class LoopFolderError(FineTuneError):
    """The folder is in use already."""


def make_installation(folder: Path | None, recipe: str, visits: Sequence[Mapping[str, str]]) -> Settings:
    """The sample's evaluation data and general data, and these visits as the one batch. Raises LoopFolderError."""
    root = _empty_folder(folder)
    settings = Settings(
        data_dir=root / "data",
        recipe=recipe,
        dagster_home=root / "dagster",
        threads=load_settings().threads,
        gateway_port=free_port(),
        desk_port=free_port(),
        dagster_port=free_port(),
    )
    for private in (settings.data_dir, settings.layout.keys, settings.dagster_home):
        make_folder(private)
    shutil.copy(PROJECT_DIR / "dagster.yaml", settings.dagster_home)
    for name in ("general", "evaluation"):
        shutil.copytree(SAMPLE / name, settings.data_dir / name)
    write_bytes(settings.layout.keys / f"{PATIENTS_KEY}.key", _PATIENTS_KEY)
    _drop(settings.layout.raw_reports, visits)
    return settings


def require_enough(recipe_name: str, corrections: int) -> None:
    """Raise TooFewCorrectionsError if so many corrections would not begin a training: some of them are tested on."""
    recipe = load_recipe(recipe_name)
    learned = 1 - recipe.split.validation_fraction - recipe.split.test_fraction
    needed = min(recipe.corrections.minimum_new, recipe.retrain.minimum_new_examples)
    if corrections * learned < needed:
        raise TooFewCorrectionsError(
            f"Of {corrections} corrections about {corrections * learned:.0f} would be learned from, and {recipe.name} begins a "
            f"training with {needed}. Ask for at least {math.ceil(needed / learned)}: --corrections."
        )


def remove_installation(settings: Settings, named: Path | None) -> None:
    """`named`: the folder that was asked for; it stays, empty. A mount point could not be removed, and it may be where one is."""
    for made in (settings.data_dir, settings.dagster_home):
        shutil.rmtree(made)
    if named is None:
        settings.data_dir.parent.rmdir()


def _empty_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="fine-tune-loop-"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LoopFolderError(f"{folder} is not empty. Name another folder, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _drop(raw_reports: Path, visits: Sequence[Mapping[str, str]]) -> None:
    """As people drop a batch: whole, at once."""
    partial = raw_reports / f"{BATCH}.partial"
    make_folder(partial)
    for name in ("batch.yaml", "LICENSE.txt", "SOURCE.md"):
        shutil.copy(VISITS.parent / name, partial)
    with (partial / "visits.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(visits[0]))
        writer.writeheader()
        writer.writerows(visits)
    partial.rename(raw_reports / BATCH)
