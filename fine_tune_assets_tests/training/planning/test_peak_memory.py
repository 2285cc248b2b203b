"""Memory computed with fake tensors equals the memory of a real step, tensor by tensor."""

from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model

pytestmark = pytest.mark.slow  # TRL takes 13 s to import


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("peak") / "base", 1.0)


def _measured_bytes(base: Path, settings: object, one: object, is_checkpointed: bool) -> int:
    """Measured by the same counter during a step of a real model."""
    import torch

    from fine_tune_assets.training.lora.peft_adapters import load_trainable_model
    from fine_tune_assets.training.planning.peak_memory import LiveTensors
    from fine_tune_assets.training.supervision.supervised_loss import score_positions

    model = load_trainable_model(base, settings)
    if is_checkpointed:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    living = LiveTensors()
    for parameter in model.parameters():
        living.add(parameter)
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
            living.add(parameter.grad)
    for buffer in model.buffers():
        living.add(buffer)
    before = living.bytes
    with living:
        ids = torch.zeros((one.rows, one.tokens), dtype=torch.long)
        mask = torch.ones_like(ids)
        mask[0, -1] = 0  # padding, as in nearly every batch: without any, attention needs no mask
        inner = model.get_base_model()
        hidden = inner.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        rows = hidden.reshape(-1, hidden.shape[-1])[: one.supervised_tokens]
        loss = -score_positions(rows, torch.zeros(len(rows), dtype=torch.long), inner.get_output_embeddings())[0].sum()
        loss.backward()
    return living.peak - before


@pytest.mark.parametrize("is_checkpointed", [False, True])
@pytest.mark.parametrize("method", ["lora", "dora", "qlora"])
def test_activation_memory_matches_a_real_step(base: Path, method: str, is_checkpointed: bool) -> None:
    """A formula would fit one architecture and version; this runs the model's own code. The 4-bit layer is ours."""
    from fine_tune_assets.training.planning.peak_memory import measure_step_memory
    from fine_tune_assets.training.planning.shapes import Pass

    one, settings = Pass(rows=3, tokens=120, supervised_tokens=50), replace(SETTINGS, method=method)
    counted = measure_step_memory(base, settings, one, is_gpu=False, is_checkpointed=is_checkpointed)
    held = _measured_bytes(base, settings, one, is_checkpointed)
    assert counted.activations == pytest.approx(held, rel=0.05 if method == "qlora" else 0.01)


def test_weight_memory_matches_the_loaded_model(base: Path) -> None:
    """For frozen weights in both formats, and for the adapter."""
    from fine_tune_assets.training.lora.peft_adapters import load_trainable_model
    from fine_tune_assets.training.planning.peak_memory import measure_step_memory
    from fine_tune_assets.training.planning.shapes import Pass

    for method in ("lora", "qlora"):
        settings = replace(SETTINGS, method=method)
        counted = measure_step_memory(base, settings, Pass(1, 8, 4), is_gpu=False, is_checkpointed=False)
        model = load_trainable_model(base, settings)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert counted.adapter == trained * 4
        scales = sum(_scales(module) for module in model.modules()) if method == "qlora" else 0
        frozen = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
        assert counted.weights == pytest.approx(frozen + scales, rel=0.02)
        assert counted.largest_layer + counted.outside_layers == counted.weights  # the model has one layer


def _scales(module: object) -> int:
    """Bytes that bitsandbytes stores in addition to the packed weights."""
    state = getattr(getattr(module, "weight", None), "quant_state", None)
    if state is None:
        return 0
    return int(state.absmax.nbytes + state.state2.absmax.nbytes)


def test_activations_grow_in_proportion_to_the_rows(base: Path) -> None:
    """Batch sizes are planned with this."""
    from fine_tune_assets.training.planning.peak_memory import measure_step_memory
    from fine_tune_assets.training.planning.shapes import Pass

    one, two = (
        measure_step_memory(base, SETTINGS, Pass(rows, 200, 60 * rows), is_gpu=True, is_checkpointed=False).activations
        for rows in (4, 8)
    )
    assert two == pytest.approx(2 * one, rel=0.1)
