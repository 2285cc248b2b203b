"""`fine-tune plan`: what a recipe would take, said before anything is bought or started."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.recipes.loading import load_recipe
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.training.published_configs import LLAMA_31_8B, LLAMA_31_70B, config_folder
from fine_tune_assets_tests.training.tiny import base_model


def _plan(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["plan", *(str(argument) for argument in arguments)])


def test_a_base_model_that_is_not_here_is_said_with_what_to_do(installation_dir: Path) -> None:  # noqa: ARG001
    """Most people plan before they have fetched 16 GB."""
    result = _plan("llama3_8b_qlora_24gb", "--gpu-memory", 24)
    assert result.exit_code == 1
    assert "--base-folder" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "config"),
    [
        ("llama3_8b_qlora_24gb", LLAMA_31_8B),
        ("llama3_8b_lora_80gb", LLAMA_31_8B),
        ("llama3_70b_qlora_48gb", LLAMA_31_70B),
    ],
)
def test_each_shipped_gpu_recipe_fits_the_card_in_its_name(
    installation_dir: Path,  # noqa: ARG001
    tmp_path: Path,
    recipe: str,
    config: dict[str, Any],
) -> None:
    """By the code that trains it, for rows as long as the recipe allows; a name that promises too much ends at night."""
    card = int(recipe.rpartition("_")[2].removesuffix("gb"))
    result = _plan(recipe, "--gpu-memory", card, "--base-folder", config_folder(tmp_path / "base", config))
    assert result.exit_code == 0, result.output
    assert str(load_recipe(recipe).training.max_length) in result.output


@pytest.mark.slow
def test_what_does_not_fit_is_refused_with_what_would(installation_dir: Path, tmp_path: Path) -> None:  # noqa: ARG001
    """Eight rows of 2,048 tokens on a small card: the same step in smaller passes fits. Four layers, to be quick."""
    folder = config_folder(tmp_path / "base", LLAMA_31_8B | {"num_hidden_layers": 4})
    result = _plan("llama3_8b_lora_80gb", "--gpu-memory", 9, "--base-folder", folder)
    assert result.exit_code == 1
    assert "It would fit with batch_size: 1, gradient_accumulation: 16." in result.output


@pytest.mark.slow
def test_this_machine_is_planned_for_where_no_card_is_named(installation_dir: Path, tmp_path: Path) -> None:  # noqa: ARG001
    """The demo's own recipe, on whatever runs this."""
    result = _plan("demo_smollm2", "--base-folder", base_model(tmp_path / "base", 1.0))
    assert result.exit_code == 0, result.output
    assert "every example as long as max_length" in result.output


@pytest.mark.slow
def test_a_sweep_is_planned_as_the_asset_plans_it(installation_dir: Path, tmp_path: Path) -> None:
    """With what any trial holds at most: it said that a sweep fits of which the last trials would be killed."""
    base = base_model(tmp_path / "base", 1.0)
    plain = _plan(write_recipe(installation_dir, training={"batch_size": 2}), "--base-folder", base)
    sweep = {"parameters": {"batch_size": [1, 2, 7]}, "seed": 1}
    swept = _plan(write_recipe(installation_dir, training={"batch_size": 2}, sweep=sweep), "--base-folder", base)
    assert "2 rows of" in plain.output
    assert "7 rows of" in swept.output
    assert "batch_size 7" in swept.output
