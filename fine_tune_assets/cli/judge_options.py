"""The options `--judge`, `--model` and `--rubric`, which replace the judge and the rubric of the recipe."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, get_args

import click
import yaml

from fine_tune_assets.core.errors import RecipeError, SettingsError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.core.strict_parsing import load_values
from fine_tune_assets.judging.judges.grades import JudgeKind
from fine_tune_assets.judging.judges.rubrics import SHIPPED_RUBRICS
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe, parse_recipe
from fine_tune_assets.recipes.removed_fields import RECIPE_FIELDS
from fine_tune_assets.recipes.schema import Recipe

_WITHOUT_RECIPE: Final = {"kind": "verifier", "rubric": "general"}
"""Of the checkout without an installation, whose default recipe is the demo's."""


class _CurrentKind(click.Choice[str]):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        removed = f"judge.kind: {value}"
        if removed in RECIPE_FIELDS:
            self.fail(f"{removed} {RECIPE_FIELDS[removed]}.", param, ctx)
        return super().convert(value, param, ctx)


def judge_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the function receives `recipe`, with the judge that they name."""

    @click.option("--judge", type=_CurrentKind(get_args(JudgeKind)), help="Kind of judge; default: the recipe's.")
    @click.option("--model", metavar="PATH_OR_NAME", help="File, folder or endpoint's name of the model.")
    @click.option("--rubric", metavar="NAME_OR_FILE", help="general, a domain or a YAML file.")
    @wraps(command)
    def run(judge: str | None, model: str | None, rubric: str | None, **others: Any) -> None:
        command(recipe=recipe_with_judge(load_settings(), judge, model, rubric), **others)

    return run


def recipe_with_judge(settings: Settings, judge: str | None, model: str | None, rubric: str | None) -> Recipe:
    """The installation's recipe, with the judge that the options name. Raises RecipeError or SettingsError."""
    recipe = load_recipe(settings.recipe)
    changes: dict[str, Any] = {} if _has_recipe(settings) else dict(_WITHOUT_RECIPE)
    if model is not None:
        changes |= _locate_model(settings, model)
        if not recipe.judge.needs_model:
            changes["kind"] = "statements"
    if judge is not None:
        changes["kind"] = judge
    if rubric is not None:
        changes["rubric"] = rubric if rubric in SHIPPED_RUBRICS else _read_criteria(rubric)
    values = dump_recipe(recipe)
    return parse_recipe({**values, "judge": {**values["judge"], **changes}}, f"{recipe.name} with your options")


def _has_recipe(settings: Settings) -> bool:
    return settings.recipe != Settings.model_fields["recipe"].default or settings.layout.tables.is_dir()


def _locate_model(settings: Settings, named: str) -> dict[str, str]:
    path = Path(named).expanduser()
    if path.exists():
        return {"backend": "folder", "model": str(path.absolute())}
    if not settings.judge.url:
        raise SettingsError(
            f"--model {named}: there is no such file or folder. For a model on a server, set FINE_TUNE_JUDGE_URL."
        )
    return {"backend": "endpoint", "model": named}


def _read_criteria(file: str) -> Any:
    try:
        return load_values(Path(file).expanduser().read_text(encoding="utf-8"))
    except OSError:
        shipped = ", ".join(SHIPPED_RUBRICS)
        raise RecipeError(
            f"--rubric {file}: there is no such file. Name a YAML file with criteria, or one of {shipped}."
        ) from None
    except (ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"--rubric {file} is not valid YAML: {error}") from None
