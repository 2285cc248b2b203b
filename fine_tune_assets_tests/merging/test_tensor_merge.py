"""Tensor-by-tensor merging equals PEFT bit for bit, and rejects unknown adapter features."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.engines.nf4 import read_quantization
from fine_tune_assets.engines.transformers_models import load_model
from fine_tune_assets.merging.adapter_weights import UnmergeableError, read_deltas, require_mergeable
from fine_tune_assets.merging.shards import INDEX_FILE, plan_shards, stored_tensors, write_tensors
from fine_tune_assets.merging.tensor_merge import merge_by_tensor
from fine_tune_assets.merging.transformers_probes import MemoryBudget, choose_merge_method, count_parameters
from fine_tune_assets_tests.merging.adapter_factory import make_adapter

pytestmark = pytest.mark.slow
"""torch is loaded."""

SHARD_BYTES = 60_000_000
"""Forces several files, with one tensor larger than the limit."""


@pytest.fixture
def base(two_layers: Path) -> Path:
    return two_layers


def _by_peft(base: Path, adapter: Path, is_quantized: bool) -> dict[str, Any]:
    """Merge by PEFT and dequantize by transformers, with the whole model in memory."""
    from peft import PeftModel

    model: Any = load_model(base, is_quantized)
    adapted: Any = PeftModel.from_pretrained(model.dequantize() if is_quantized else model, adapter)
    return dict(adapted.merge_and_unload().state_dict())


def _different(folder: Path, expected: dict[str, Any]) -> list[str]:
    import torch

    stored = stored_tensors(folder)
    tied = {name for name in expected if name not in stored}
    assert tied <= {"lm_head.weight"}
    return [name for name in stored if not torch.equal(stored[name].read(name), expected[name].float())]


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
def test_the_result_equals_peft_bit_for_bit(base: Path, tmp_path: Path, config: dict[str, Any]) -> None:
    """A release must not depend on how much memory was free during the merge."""
    adapter = make_adapter(base, tmp_path / "adapter", **config)
    is_quantized = config.get("is_quantized", False)
    (tmp_path / "merged").mkdir()
    merge_by_tensor(
        base,
        adapter,
        read_quantization(adapter, is_quantized),
        "float32",
        tmp_path / "merged",
        ignore_progress,
        SHARD_BYTES,
    )
    assert (tmp_path / "merged" / INDEX_FILE).is_file()
    assert _different(tmp_path / "merged", _by_peft(base, adapter, is_quantized)) == []
    assert (
        len(_different(tmp_path / "merged", dict(load_model(base).state_dict()))) >= 14
    )  # differs from the base model
    assert load_model(tmp_path / "merged").config.num_hidden_layers == 2


def test_transposed_weights_get_the_same_change_as_in_peft(tmp_path: Path) -> None:
    """GPT-2 stores [in, out]: without transposing, square layers would be silently wrong."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=64, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    adapter = make_adapter(tmp_path / "base", tmp_path / "adapter", target_modules=["c_attn", "c_proj"])
    (tmp_path / "merged").mkdir()
    merge_by_tensor(tmp_path / "base", adapter, None, "float32", tmp_path / "merged", ignore_progress)
    assert _different(tmp_path / "merged", _by_peft(tmp_path / "base", adapter, False)) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [("modules_to_save", ["lm_head"]), ("bias", "all"), ("lora_bias", True), ("peft_type", "LOHA")],
)
def test_an_adapter_with_more_than_two_matrices_is_rejected(setting: str, value: Any) -> None:
    """Ignoring the rest would give another model."""
    with pytest.raises(UnmergeableError, match=setting):
        require_mergeable({"peft_type": "LORA", "bias": "none", setting: value})


def test_a_layer_without_a_base_weight_is_rejected(base: Path, tmp_path: Path) -> None:
    """Some families name weights in files differently than layers: skipping them would look like success."""
    from safetensors.torch import load_file, save_file

    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    weights = adapter / "adapter_model.safetensors"
    save_file({n.replace("layers.1", "layers.7"): t for n, t in load_file(weights).items()}, weights)
    (tmp_path / "merged").mkdir()
    with pytest.raises(UnmergeableError, match=r"\b1 of .*layers\.7"):
        merge_by_tensor(base, adapter, None, "float16", tmp_path / "merged", ignore_progress)
    assert list((tmp_path / "merged").iterdir()) == []


def test_an_adapter_that_contradicts_its_configuration_is_rejected(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    for changed, problem in (({"r": 8}, "rank"), ({"use_dora": True}, "incomplete")):
        (adapter / "adapter_config.json").write_text(json.dumps({**config, **changed}), encoding="utf-8")
        with pytest.raises(UnmergeableError, match=problem):
            read_deltas(adapter)


def test_a_model_is_merged_in_memory_only_if_it_fits(base: Path) -> None:
    """Six bytes per weight: 8 billion weights take 48 GB."""
    assert count_parameters(base) == sum(p.numel() for p in load_model(base).parameters())
    assert choose_merge_method(8_000_000_000, MemoryBudget(ram_bytes=48_000_000_000)) == "in_memory"
    assert choose_merge_method(8_000_000_000, MemoryBudget(ram_bytes=47_999_999_999)) == "streaming"
    assert (
        choose_merge_method(70_000_000_000, MemoryBudget(ram_bytes=64_000_000_000, gpu_bytes=80_000_000_000))
        == "streaming"
    )


def test_tensors_are_split_into_standard_shards(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    assert plan_shards({"a": 3, "b": 3, "c": 9, "d": 1}, limit=6) == {
        "model-00001-of-00003.safetensors": ["a", "b"],
        "model-00002-of-00003.safetensors": ["c"],
        "model-00003-of-00003.safetensors": ["d"],
    }
    assert plan_shards({"a": 3}, limit=6) == {"model.safetensors": ["a"]}
    tensors = {"a": torch.rand(3, 5).to(torch.bfloat16), "b": torch.arange(4), "c": torch.rand(2, 3).T}
    file = tmp_path / "x.safetensors"
    write_tensors(file, [(n, t.dtype, tuple(t.shape)) for n, t in tensors.items()], tensors.values())
    assert all(torch.equal(loaded, tensors[name]) for name, loaded in load_file(file).items())
    with pytest.raises(ValueError, match="float16"):
        write_tensors(tmp_path / "y.safetensors", [("a", torch.float16, (3, 5))], [tensors["a"]])
