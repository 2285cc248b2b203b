"""Published shapes are complete, and models made from them load with a tokenizer for every token id."""

from pathlib import Path

import pytest

from benchmarks.gpu_proof.random_models import SHAPES, TINY, make_model, published_sizes, read_shape
from fine_tune_assets.core.strict_parsing import load_values
from fine_tune_assets.training.base_models.model_facts import published_shapes

PARAMETERS = {
    "Llama-3-8B": 8_030_261_248,
    "Mistral-7B-v0.3": 7_248_023_552,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-7B": 7_615_616_512,
}
"""As the publishers' weight files count them."""


def test_every_shape_names_its_source() -> None:
    for path in SHAPES.glob("*.json"):
        assert load_values(path.read_text(encoding="utf-8"))["source"]


@pytest.mark.slow
@pytest.mark.parametrize("name", published_sizes())
def test_a_shape_has_the_published_number_of_parameters(name: str) -> None:
    """One wrong number would measure another model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = read_shape(name)
    config = AutoConfig.for_model(**shape)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert model.num_parameters() == PARAMETERS[name]


def test_llama_3_has_the_shape_with_which_the_recipes_are_planned() -> None:
    planned = published_shapes()["Llama-3.1-8B-Instruct"].config
    own = read_shape("Llama-3-8B")
    different = {"max_position_embeddings", "dtype"}  # 3.1 has a longer context
    assert {name: own[name] for name in planned.keys() - different} == {
        name: planned[name] for name in planned.keys() - different
    }


@pytest.mark.slow
def test_a_made_model_loads_generates_and_decodes(tmp_path: Path) -> None:
    from fine_tune_assets.engines.transformers_models import generate, load_model, load_tokenizer

    folder = make_model(TINY, tmp_path / "model")
    model, tokenizer = load_model(folder).eval(), load_tokenizer(folder)
    assert len(tokenizer) == read_shape(TINY)["vocab_size"]
    (answer,) = generate(model, tokenizer, ["A note."], max_new_tokens=8, batch_size=1)
    assert answer.text
    assert make_model(TINY, folder) == folder  # made once
    assert not [path for path in folder.iterdir() if path.name.endswith("complete")]
