"""Records which recipe each running service uses, and refuses commands whose settings name another one.

A service keeps the name or path of the recipe that it started with, and reads the content again for each run: a changed file
needs no restart. A further product line's recipe is in its `line.yaml`, which services and commands read again each time.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.processes import ProcessIdentity, identify, is_ending
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.recipes.schema import Recipe

_ENDING = ".recipe.json"


class OtherRecipeError(FineTuneError):
    """The running services use another recipe than the command."""


def record_recipe(settings: Settings, service: str) -> None:
    """Called by the service when it starts, in the folder that relative paths refer to."""
    identity = identify(os.getpid())
    if identity is not None:
        values = {**asdict(identity), "recipe": _resolve(settings.recipe)}
        write_text(settings.layout.run / f"{service}{_ENDING}", json.dumps(values))


def require_recipe_of_services(settings: Settings) -> None:
    """Raise OtherRecipeError if a running service of the main line uses a recipe with other content than these settings name.

    For a further line too, because FINE_TUNE_RECIPE does not change the recipe of its `line.yaml`.
    """
    named = settings.installation.recipe
    others = find_other_recipes(read_recorded_recipes(settings.installation.layout.run), named)
    if not others:
        return
    used = next(iter(others.values()))
    raise OtherRecipeError(
        f"This command's settings name the recipe {named}, but {', '.join(others)} started with {used}, which differs. "
        "To change the recipe of the services, run `fine-tune down`, then `fine-tune up` with FINE_TUNE_RECIPE or the setting "
        f"`recipe`. To use theirs, set FINE_TUNE_RECIPE={used} or unset the variable."
        + (f" The recipe of the product line {settings.line} is in its line.yaml." if settings.line else "")
    )


def find_other_recipes(recorded: Mapping[str, str], named: str) -> dict[str, str]:
    """Service → its recipe, if its content is not the named recipe's. A recipe that can't be read differs from all others."""
    wanted = _resolve(named)
    different = {used for used in set(recorded.values()) - {wanted} if not _is_equal(used, wanted)}
    return {service: used for service, used in recorded.items() if used in different}


def read_recorded_recipes(run_folder: Path) -> dict[str, str]:
    """Running service → name or absolute path of its recipe. Empty for services in another container."""
    found = {path.name.removesuffix(_ENDING): _read(path) for path in sorted(run_folder.glob(f"*{_ENDING}"))}
    return {service: recipe for service, recipe in found.items() if recipe is not None}


def _read(path: Path) -> str | None:
    """None for a service that has ended."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        recipe = str(values.pop("recipe"))
        return None if is_ending(ProcessIdentity(**values)) else recipe
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _resolve(recipe: str) -> str:
    return recipe if recipe in shipped_recipes() else os.path.abspath(recipe)


def _is_equal(one: str, other: str) -> bool:
    found = [_load(one), _load(other)]
    return found[0] is not None and found[0] == found[1]


def _load(recipe: str) -> Recipe | None:
    try:
        return load_recipe(recipe)
    except FineTuneError:  # missing, or being edited
        return None
