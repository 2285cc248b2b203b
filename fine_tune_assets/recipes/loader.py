"""Reads a recipe from YAML. Owns finding the file and saying clearly what is wrong with it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.settings import Settings, use_settings
from fine_tune_assets.core.strict_parsing import DuplicateKeyError, load_values
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.removed_fields import RECIPE_FIELDS, describe_removed_fields
from fine_tune_assets.recipes.schema import Recipe

SHIPPED_DIR = Path(__file__).parent


def shipped_recipes() -> dict[str, Path]:
    """Name → file of every recipe that comes with the package."""
    return {path.stem: path for path in sorted(SHIPPED_DIR.glob("*.yaml"))}


def load_recipe(name_or_path: str) -> Recipe:
    """Load a shipped recipe by its name, or a file by its path. Raises RecipeError with every fault in it."""
    path = shipped_recipes().get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise RecipeError(f"There is no recipe {name_or_path}. Shipped: {', '.join(shipped_recipes())}.")
    try:
        values = load_values(path.read_text(encoding="utf-8"))
    except DuplicateKeyError as error:
        raise RecipeError(f"Recipe {path.name}: {error}. Keep one of the two.") from error
    except (ValueError, yaml.YAMLError) as error:  # bytes that are not UTF-8, or a date that does not exist
        raise RecipeError(f"Recipe {path.name} is not valid YAML: {error}") from error
    return parse_recipe(values, path.name)


def load_line_recipe(line: Settings) -> Recipe:
    """The recipe of a product line, read with the line's own settings. Raises RecipeError, DomainPackError."""
    with use_settings(line):
        return load_recipe(line.recipe)


def dump_recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as it is in force, with its defaults: what YAML holds, and what `parse_recipe` reads.

    Without `inline_headings: false`, which is newer than the shipped release.
    """
    values = dict(json.loads(json.dumps(asdict(recipe))))
    for task in values["tasks"]:
        if not task.get("inline_headings"):
            task.pop("inline_headings", None)
    return values


def parse_recipe(values: Any, origin: str) -> Recipe:
    """Check `values` against the schema and the domain pack. Raises RecipeError, DomainPackError."""
    if removed := describe_removed_fields(values, RECIPE_FIELDS):
        raise RecipeError(f"Recipe {origin}: {removed}")
    try:
        recipe = TypeAdapter(Recipe).validate_python(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors())
        misplaced = isinstance(values, dict) and "other_headings" in values
        place = ". Move other_headings into the task whose sections it ends: `tasks: [{name: …, other_headings: […]}]`"
        raise RecipeError(f"Recipe {origin}: {faults}{place if misplaced else ''}") from error
    load_pack(recipe.domain)
    return recipe
