"""What is counted without numbers is what a real step holds, tensor by tensor."""

from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets_tests.training.tiny import SETTINGS, base_model

pytestmark = pytest.mark.slow  # TRL takes 13 s to import


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("peak") / "base", 1.0)


def _really_held(base: Path, settings: object, one: object, is_checkpointed: bool) -> int:
    """By the same counter, while a real model with real numbers learns."""
    import torch

    from fine_tune_assets.training.lora.adapters import adapted_model
    from fine_tune_assets.training.planning.peak_memory import Living
    from fine_tune_assets.training.supervision.supervised_loss import score_positions

    model = adapted_model(base, settings)
    if settings.method == "qlora":
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
    if is_checkpointed:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    living = Living()
    for parameter in model.parameters():
        living.count(parameter)
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
            living.count(parameter.grad)
    for buffer in model.buffers():
        living.count(buffer)
    before = living.bytes
    with living:
        ids = torch.zeros((one.rows, one.tokens), dtype=torch.long)
        mask = torch.ones_like(ids)
        mask[0, -1] = 0  # padding, as in nearly every batch: without any, attention needs no mask
        inner = model.get_base_model()
        hidden = inner.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        rows = hidden.reshape(-1, hidden.shape[-1])[: one.learned]
        loss = -score_positions(rows, torch.zeros(len(rows), dtype=torch.long), inner.get_output_embeddings())[0].sum()
        loss.backward()
    return living.peak - before


@pytest.mark.parametrize("is_checkpointed", [False, True])
@pytest.mark.parametrize("method", ["lora", "dora", "qlora"])
def test_activations_are_counted_as_a_real_step_holds_them(base: Path, method: str, is_checkpointed: bool) -> None:
    """A formula would hold for one architecture and one version; this is the model's own code. In 4 bits the layer is ours."""
    from fine_tune_assets.training.planning.peak_memory import step_memory
    from fine_tune_assets.training.planning.shapes import Pass

    one, settings = Pass(rows=3, tokens=120, learned=50), replace(SETTINGS, method=method)
    counted = step_memory(base, settings, one, is_gpu=False, is_checkpointed=is_checkpointed)
    held = _really_held(base, settings, one, is_checkpointed)
    assert counted.activations == pytest.approx(held, rel=0.05 if method == "qlora" else 0.01)


def test_the_weights_are_those_of_the_loaded_model(base: Path) -> None:
    """Of the frozen ones in both formats, and of the adapter."""
    from fine_tune_assets.training.lora.adapters import adapted_model
    from fine_tune_assets.training.planning.peak_memory import step_memory
    from fine_tune_assets.training.planning.shapes import Pass

    for method in ("lora", "qlora"):
        settings = replace(SETTINGS, method=method)
        counted = step_memory(base, settings, Pass(1, 8, 4), is_gpu=False, is_checkpointed=False)
        model = adapted_model(base, settings)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert counted.adapter == trained * (2 if method == "qlora" else 4)
        scales = sum(_scales(module) for module in model.modules()) if method == "qlora" else 0
        frozen = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
        assert counted.weights == pytest.approx(frozen + scales, rel=0.02)
        assert counted.layer + counted.root == counted.weights  # it has one layer


def _scales(module: object) -> int:
    """Bytes that bitsandbytes keeps beside packed weights."""
    state = getattr(getattr(module, "weight", None), "quant_state", None)
    if state is None:
        return 0
    return int(state.absmax.nbytes + state.state2.absmax.nbytes)


def test_twice_the_rows_hold_twice_the_activations(base: Path) -> None:
    """Where memory is planned batch by batch, it must grow with the batch."""
    from fine_tune_assets.training.planning.peak_memory import step_memory
    from fine_tune_assets.training.planning.shapes import Pass

    one, two = (
        step_memory(base, SETTINGS, Pass(rows, 200, 60 * rows), is_gpu=True, is_checkpointed=False).activations
        for rows in (4, 8)
    )
    assert two == pytest.approx(2 * one, rel=0.1)
