"""The merge from file to file gives PEFT's own weights, bit by bit; what it does not know it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import silent
from fine_tune_assets.engines.nf4 import read_quantization
from fine_tune_assets.engines.transformers_models import load_model
from fine_tune_assets.merging.adapters import UnmergeableError, read_deltas, require_mergeable
from fine_tune_assets.merging.shards import INDEX, spread, stored_tensors, write_tensors
from fine_tune_assets.merging.tensor_merge import merge_by_tensor
from fine_tune_assets.merging.transformers_replies import Room, parameters_of, route
from fine_tune_assets_tests.merging.made import make_adapter

pytestmark = pytest.mark.slow
"""torch is loaded."""

SHARD_BYTES = 60_000_000
"""Several files, and one tensor that is larger than the limit."""


@pytest.fixture
def base(two_layers: Path) -> Path:
    return two_layers


def _by_peft(base: Path, adapter: Path, is_quantized: bool) -> dict[str, Any]:
    """As PEFT merges, and transformers de-quantises, the model whole in memory."""
    from peft import PeftModel

    model: Any = load_model(base, is_quantized)
    adapted: Any = PeftModel.from_pretrained(model.dequantize() if is_quantized else model, adapter)
    return dict(adapted.merge_and_unload().state_dict())


def _different(folder: Path, wanted: dict[str, Any]) -> list[str]:
    import torch

    stored = stored_tensors(folder)
    tied = {name for name in wanted if name not in stored}
    assert tied <= {"lm_head.weight"}
    return [name for name in stored if not torch.equal(stored[name].read(name), wanted[name].float())]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True, "rank_pattern": {"q_proj": 8}, "alpha_pattern": {r"layers\.1\..*\.v_proj": 32}},
        {"use_dora": True},
        {"is_quantized": True},
    ],
    ids=["lora", "rslora with patterns", "dora", "qlora"],
)
def test_it_gives_the_weights_of_peft_bit_by_bit(base: Path, tmp_path: Path, config: dict[str, Any]) -> None:
    """A release must not depend on how much memory was free when it was merged."""
    adapter = make_adapter(base, tmp_path / "adapter", **config)
    is_quantized = config.get("is_quantized", False)
    (tmp_path / "merged").mkdir()
    merge_by_tensor(
        base, adapter, read_quantization(adapter, is_quantized), "float32", tmp_path / "merged", silent, SHARD_BYTES
    )
    assert (tmp_path / "merged" / INDEX).is_file()
    assert _different(tmp_path / "merged", _by_peft(base, adapter, is_quantized)) == []
    assert len(_different(tmp_path / "merged", dict(load_model(base).state_dict()))) >= 14  # it is not the base model
    assert load_model(tmp_path / "merged").config.num_hidden_layers == 2


def test_weights_that_are_kept_turned_get_what_peft_adds(tmp_path: Path) -> None:
    """GPT-2's layers keep [in, out]: added as it is, the square ones would silently be wrong."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=64, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    adapter = make_adapter(tmp_path / "base", tmp_path / "adapter", target_modules=["c_attn", "c_proj"])
    (tmp_path / "merged").mkdir()
    merge_by_tensor(tmp_path / "base", adapter, None, "float32", tmp_path / "merged", silent)
    assert _different(tmp_path / "merged", _by_peft(tmp_path / "base", adapter, False)) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [("modules_to_save", ["lm_head"]), ("bias", "all"), ("lora_bias", True), ("peft_type", "LOHA")],
)
def test_what_is_more_than_two_matrices_is_refused(setting: str, value: Any) -> None:
    """Left out, the merged model would be another one."""
    with pytest.raises(UnmergeableError, match=setting):
        require_mergeable({"peft_type": "LORA", "bias": "none", setting: value})


def test_a_layer_that_the_base_has_no_weight_for_is_refused(base: Path, tmp_path: Path) -> None:
    """Some families' files name weights otherwise than their layers: a merge that skipped them would look done."""
    from safetensors.torch import load_file, save_file

    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    weights = adapter / "adapter_model.safetensors"
    save_file({n.replace("layers.1", "layers.7"): t for n, t in load_file(weights).items()}, weights)
    (tmp_path / "merged").mkdir()
    with pytest.raises(UnmergeableError, match="no weight for 1 layers"):
        merge_by_tensor(base, adapter, None, "float16", tmp_path / "merged", silent)
    assert list((tmp_path / "merged").iterdir()) == []


def test_an_adapter_that_is_not_what_its_configuration_says_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    for changed, said in (({"r": 8}, "rank"), ({"use_dora": True}, "incomplete")):
        (adapter / "adapter_config.json").write_text(json.dumps({**config, **changed}), encoding="utf-8")
        with pytest.raises(UnmergeableError, match=said):
            read_deltas(adapter)


def test_a_model_is_merged_whole_only_where_it_fits(base: Path) -> None:
    """Six bytes a weight: 8 billion take 48 GB."""
    assert parameters_of(base) == sum(p.numel() for p in load_model(base).parameters())
    assert route(8_000_000_000, Room(memory=48_000_000_000)) == "whole"
    assert route(8_000_000_000, Room(memory=47_999_999_999)) == "by_tensor"
    assert route(70_000_000_000, Room(memory=64_000_000_000, gpu=80_000_000_000)) == "by_tensor"


def test_tensors_are_spread_over_files_that_any_reader_knows(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    assert spread({"a": 3, "b": 3, "c": 9, "d": 1}, limit=6) == {
        "model-00001-of-00003.safetensors": ["a", "b"],
        "model-00002-of-00003.safetensors": ["c"],
        "model-00003-of-00003.safetensors": ["d"],
    }
    assert spread({"a": 3}, limit=6) == {"model.safetensors": ["a"]}
    tensors = {"a": torch.rand(3, 5).to(torch.bfloat16), "b": torch.arange(4), "c": torch.rand(2, 3).T}
    file = tmp_path / "x.safetensors"
    write_tensors(file, [(n, t.dtype, tuple(t.shape)) for n, t in tensors.items()], tensors.values())
    assert all(torch.equal(found, tensors[name]) for name, found in load_file(file).items())
    with pytest.raises(ValueError, match="instead of"):
        write_tensors(tmp_path / "y.safetensors", [("a", torch.float16, (3, 5))], [tensors["a"]])
