"""QLoRA trains every layer, also after an evaluation of the model."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model

pytestmark = pytest.mark.slow  # torch and PEFT


def _gradients(base: Path, is_evaluated_first: bool, is_kept: bool = True) -> dict[str, Any]:
    import torch

    from fine_tune_assets.training.lora import peft_adapters as adapters

    torch.manual_seed(1)
    settings = SETTINGS.__class__(**{**SETTINGS.__dict__, "method": "qlora"})
    model = adapters.load_trainable_model(base, settings)
    if not is_kept:
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = True
    ids = torch.arange(24)[None] % 200
    if is_evaluated_first:
        model.eval()
        with torch.no_grad():
            model(input_ids=ids)
    model.train()
    model(input_ids=ids, labels=ids).loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad and "lora_B" in name}


def test_evaluating_a_quantized_model_keeps_its_gradients(tmp_path: Path) -> None:
    """On some processors, bitsandbytes repacks weights at the first evaluation, and has no gradient for repacked ones."""
    import torch

    base = base_model(tmp_path / "base", 1.0)
    plain, evaluated = _gradients(base, False), _gradients(base, True)
    assert plain.keys() == evaluated.keys()
    assert all(float(gradient.abs().sum()) > 0 for gradient in plain.values())
    assert all(torch.equal(plain[name], evaluated[name]) for name in plain)


def test_an_operation_without_a_gradient_stops_the_training(tmp_path: Path) -> None:
    """Any such operation, now or after an update: torch only warns."""
    import torch

    from fine_tune_assets.training.failures import TrainingError, explain_errors

    with torch.library._scoped_library("probe", "FRAGMENT") as library:
        library.define("double_it(Tensor x) -> Tensor")
        library.impl("double_it", lambda x: x * 2, "CPU")
        x = torch.ones(2, requires_grad=True)
        with pytest.raises(TrainingError), explain_errors(tmp_path):
            (torch.ops.probe.double_it(x).sum()).backward()
