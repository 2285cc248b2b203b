"""`fine-tune plan`: what a recipe would take, said before anything is bought or started."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import DOES_NOT_FIT
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import combine
from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.engines.gguf_header import read_gguf_header
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.recipes.recipe_parts import section_fingerprints
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets.training.base_models.model_facts import published_shapes
from fine_tune_assets.training.base_models.registration import bundled_gguf
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.record_factory import made
from fine_tune_assets_tests.training.published_configs import LLAMA_31_8B, config_folder
from fine_tune_assets_tests.training.tiny_training import base_model

RECIPES = PACKAGE_DIR / "recipes"


def _plan(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["plan", *(str(argument) for argument in arguments)])


def test_every_shipped_recipe_can_be_planned_before_its_model_is_here() -> None:
    """Most people plan before they have fetched 16 GB."""
    named = {load_recipe(name).base_model.name for name in shipped_recipes()}
    assert named - set(published_shapes()) == set()


def test_a_model_of_unknown_shape_is_refused_with_what_to_do(installation_dir: Path) -> None:
    """A plan of another model would say nothing."""
    recipe = write_recipe(installation_dir, base_model={"name": "Own-7B", "folder": "/srv/models/Own-7B"})
    result = _plan(recipe, "--gpu-memory", 24)
    assert result.exit_code == 1
    assert "Own-7B" in result.stderr
    assert "--base-folder" in result.stderr


def test_the_shape_of_the_bundled_model_is_that_of_its_file() -> None:
    """A wrong number plans another model."""
    header, config = read_gguf_header(bundled_gguf()), published_shapes()["SmolLM2-135M-Instruct"].config
    assert {
        "hidden_size": header["llama.embedding_length"],
        "intermediate_size": header["llama.feed_forward_length"],
        "num_hidden_layers": header["llama.block_count"],
        "num_attention_heads": header["llama.attention.head_count"],
        "num_key_value_heads": header["llama.attention.head_count_kv"],
        "vocab_size": header["llama.vocab_size"],
        "max_position_embeddings": header["llama.context_length"],
        "rope_theta": header["llama.rope.freq_base"],
    }.items() <= config.items()


def test_the_shape_of_a_model_has_as_many_weights_as_its_publisher_says() -> None:
    """From the shape alone: a mistyped layer count or width shows in the sum."""
    counted = {name: _weights(shape.config) for name, shape in published_shapes().items()}
    assert counted == {
        "Llama-3.1-8B-Instruct": 8_030_261_248,
        "Llama-3.1-70B-Instruct": 70_553_706_496,
        "SmolLM2-135M-Instruct": 134_515_008,
    }


def _weights(config: dict[str, Any]) -> int:
    width, ends = config["hidden_size"], 1 if config["tie_word_embeddings"] else 2
    keys = width // config["num_attention_heads"] * config["num_key_value_heads"]
    layer = 2 * width * width + 2 * width * keys + 3 * width * config["intermediate_size"] + 2 * width
    return int(config["num_hidden_layers"] * layer + ends * config["vocab_size"] * width + width)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["llama3_8b_qlora_24gb", "llama3_8b_lora_80gb", "llama3_70b_qlora_48gb"])
def test_each_shipped_gpu_recipe_fits_as_its_comment_says(installation_dir: Path, recipe: str) -> None:  # noqa: ARG001
    """Training, merge and serving, with the card in its name and the rest as in the command of its comment; a name that promises
    too much ends at night. Without the model: the output says that the plan rests on its shape."""
    head = (RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8").partition("\nname:")[0].replace("\n# ", " ")
    command = re.search(rf"`fine-tune plan {recipe} ([^`]+)`", head)
    assert command is not None
    card = recipe.rpartition("_")[2].removesuffix("gb")
    assert f"--gpu-memory {card} " in f"{command[1]} "
    result = _plan(recipe, *command[1].split())
    assert result.exit_code == 0, result.output
    assert str(load_recipe(recipe).training.max_length) in result.output
    assert "published shape" in " ".join(result.output.split())
    for fits in ("Training fits.", "Merge fits.", "Serving fits."):
        assert fits in result.output


@pytest.mark.slow
def test_a_recipe_whose_serving_does_not_fit_is_refused_and_names_the_setting(installation_dir: Path) -> None:  # noqa: ARG001
    """It trains in 32 GB on a card of 40 GB, where no engine of it fits. After a training it is too late to learn this."""
    result = _plan("llama3_8b_lora_80gb", "--gpu-memory", 40, "--json")
    assert result.exit_code == DOES_NOT_FIT
    found = json.loads(result.stdout)
    assert (found["fits"], found["training"]["fits"], found["serving"]["fits"]) == (False, True, False)
    assert "FINE_TUNE_VLLM_GPU_MEMORY_PERCENT" in found["serving"]["shortfall"]
    assert found["serving"]["suggestion"] == "exports: [lora_safetensors] and FINE_TUNE_VLLM_GPU_MEMORY_PERCENT=90"
    # Not compared: another machine, of which only the card is known.
    assert (found["merge"]["fits"], found["merge"]["limit_bytes"]) == (None, None)


@pytest.mark.slow
def test_a_merge_that_does_not_fit_is_refused_and_serving_may_have_its_own_card(
    installation_dir: Path,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    """One layer of the 8B model, to be quick; its probes alone need more than 4 GiB of main memory."""
    folder = config_folder(tmp_path / "base", LLAMA_31_8B | {"num_hidden_layers": 1})
    given = ("--gpu-memory", 24, "--base-folder", folder, "--serving-gpu-memory", 16, "--json")
    small, large = (_plan("llama3_8b_qlora_24gb", *given, "--main-memory", gib) for gib in (4, 32))
    assert (small.exit_code, large.exit_code) == (DOES_NOT_FIT, 0)
    found = json.loads(small.stdout)
    assert (found["merge"]["fits"], found["serving"]["fits"]) == (False, True)
    assert found["training_while_serving"]["needed_bytes"] is None


def test_a_training_that_fits_nowhere_ends_with_the_status_of_what_does_not_fit(
    installation_dir: Path,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    """A script must tell this from a wrong recipe. One layer of the 8B model, to be quick: its vocabulary alone is too large."""
    folder = config_folder(tmp_path / "base", LLAMA_31_8B | {"num_hidden_layers": 1})
    result = _plan("llama3_8b_lora_80gb", "--gpu-memory", 1, "--base-folder", folder)
    assert result.exit_code == DOES_NOT_FIT


@pytest.mark.slow
def test_what_does_not_fit_is_refused_with_what_would(installation_dir: Path, tmp_path: Path) -> None:  # noqa: ARG001
    """Eight rows of 2,048 tokens on a small card: the same step in smaller passes fits. Four layers, to be quick."""
    folder = config_folder(tmp_path / "base", LLAMA_31_8B | {"num_hidden_layers": 4})
    result = _plan("llama3_8b_lora_80gb", "--gpu-memory", 9, "--base-folder", folder)
    assert result.exit_code == DOES_NOT_FIT
    assert "It would fit with batch_size: 1, gradient_accumulation: 16." in result.output


@pytest.mark.slow
def test_this_machine_is_planned_for_where_no_card_is_named(installation_dir: Path, tmp_path: Path) -> None:  # noqa: ARG001
    """The demo's own recipe, on whatever runs this."""
    result = _plan("demo_smollm2", "--base-folder", base_model(tmp_path / "base", 1.0))
    assert result.exit_code == 0, result.output
    assert "max_length tokens for every example" in result.output


@pytest.mark.slow
def test_the_plan_states_how_long_the_last_training_with_these_settings_took(
    installation_dir: Path, tmp_path: Path
) -> None:
    """With other training settings it would take another time, so none is stated."""
    recipe = write_recipe(installation_dir)
    sections = section_fingerprints(load_recipe(str(recipe)))
    stored = made(
        Adapter,
        recipe_fingerprint=combine([sections["training"], sections["base_model"]]),
        duration_seconds=960.0,
        trained_row_count=120,
    )
    write_table(load_settings().layout.table("adapters"), table_from_records(Adapter, [stored]))
    folder = base_model(tmp_path / "base", 1.0)
    assert "took 16 min for 120 examples" in " ".join(_plan(recipe, "--base-folder", folder).stdout.split())
    changed = write_recipe(installation_dir, training={"epochs": 7})
    assert "The last training" not in _plan(changed, "--base-folder", folder).stdout


@pytest.mark.slow
def test_the_plan_tells_whether_the_judge_fits(installation_dir: Path, tmp_path: Path) -> None:
    """Judging takes turns with training on the same card; a judge that does not fit would fail after the training."""
    weights = tmp_path / "judge" / "model.safetensors"
    weights.parent.mkdir()
    with weights.open("wb") as file:
        file.truncate(40_000_000_000)
    folder = config_folder(tmp_path / "base", LLAMA_31_8B | {"num_hidden_layers": 1, "vocab_size": 1000})
    recipe = write_recipe(installation_dir, judge={"kind": "rubric", "backend": "folder", "model": str(weights.parent)})
    found = json.loads(_plan(recipe, "--gpu-memory", 24, "--base-folder", folder, "--json").stdout)
    assert (found["judge_bytes"], found["judge_fits"], found["fits"]) == (40_000_000_000, False, True)
