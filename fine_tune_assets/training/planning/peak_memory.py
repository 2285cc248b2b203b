"""Computes the peak memory of one training step without weights and without a GPU.

Runs forward and backward through the base model's own code, with its adapter, on tensors with shapes but no data (PyTorch's
FakeTensorMode), and counts each tensor from creation to release. This covers any architecture, and works for an 8B model on a
laptop. Overhead of torch's allocators is not included.
"""

import gc
import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AutoConfig, AutoModelForCausalLM
from trl.trainer import utils as trl_utils

from fine_tune_assets.recipes.schema import TrainingSettings
from fine_tune_assets.training.lora.peft_adapters import lora_config
from fine_tune_assets.training.planning.shapes import Pass, StepMemory
from fine_tune_assets.training.supervision.supervised_loss import score_positions

BLOCK_SIZE, DOUBLE_BLOCK_SIZE = 64, 256
"""Weights per scale in NF4, and scales per second-level scale with double quantization (QLoRA, section 3)."""


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all live tensors; each storage counts once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known = WeakIdKeyDictionary()

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._known:
            size = storage.nbytes()
            self._known[storage] = weakref.finalize(storage, self._release, size)
            self.bytes += size
            self.peak = max(self.peak, self.bytes)

    def _release(self, size: int) -> None:
        self.bytes -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return result


class _UnpackedProduct(torch.autograd.Function):
    """A product with weights that are unpacked temporarily, as in bitsandbytes: backward unpacks them again."""

    @staticmethod
    def forward(context: Any, rows: torch.Tensor, outputs: int, bias: torch.Tensor | None) -> torch.Tensor:
        context.outputs, context.inputs = outputs, rows.shape[-1]
        weights = rows.new_empty((outputs, rows.shape[-1]), dtype=torch.bfloat16)
        return torch.nn.functional.linear(rows.to(weights.dtype), weights, bias).to(rows.dtype)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        weights = gradient.new_empty((context.outputs, context.inputs), dtype=torch.bfloat16)
        return (gradient.to(weights.dtype) @ weights).to(gradient.dtype), None, None


class PackedLinear(torch.nn.Linear):
    """A linear layer in NF4 with double quantization."""

    def __init__(self, plain: torch.nn.Linear) -> None:
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None, "meta", torch.bfloat16)
        self.weight = torch.nn.Parameter(
            torch.empty(packed_bytes(plain.weight.numel()), dtype=torch.uint8, device="meta"), requires_grad=False
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return _packed_product(rows, self.out_features, self.bias)


def _packed_product(rows: torch.Tensor, outputs: int, bias: torch.Tensor | None) -> torch.Tensor:
    return _UnpackedProduct.apply(rows, outputs, bias)  # type: ignore[no-any-return]


def packed_bytes(weights: int) -> int:
    """Four bits per weight, one byte per block, and two 32-bit numbers per 256 blocks."""
    blocks = -(-weights // BLOCK_SIZE)
    return -(-weights // 2) + blocks + 8 * -(-blocks // DOUBLE_BLOCK_SIZE)


def measure_step_memory(
    base_folder: Path, settings: TrainingSettings, largest: Pass, is_gpu: bool, is_checkpointed: bool
) -> StepMemory:
    """Peak of a training step with this pass. Reads only config.json from the folder."""
    model = _meta_model(base_folder, settings, is_gpu)
    with FakeTensorMode():
        _use_fake_tensors(model)
        frozen = _parameter_bytes(p for p in model.parameters() if not p.requires_grad)
        trained = [p for p in model.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        if is_checkpointed:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        activations = _peak_activation_bytes(model, largest, is_gpu)
    adapter = _parameter_bytes(trained)
    layers = [_parameter_bytes(p for p in layer.parameters() if not p.requires_grad) for layer in _layers(model)]
    # AdamW keeps two moments per trained weight.
    return StepMemory(
        frozen,
        adapter,
        adapter,
        2 * adapter,
        activations,
        largest_layer=max(layers),
        outside_layers=frozen - sum(layers),
    )


def _layers(model: Any) -> list[Any]:
    """The longest module list: the model's repeated blocks."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return max((list(found) for found in lists), key=len)


@dataclass(frozen=True)
class BaseSize:
    hidden_size: int
    layers: int
    parameters: int


@cache
def read_base_size(base_folder: Path) -> BaseSize:
    """Sizes from a folder's config.json."""
    config: Any = AutoConfig.from_pretrained(base_folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    text = config.get_text_config()
    return BaseSize(text.hidden_size, text.num_hidden_layers, model.num_parameters())


def _meta_model(base_folder: Path, settings: TrainingSettings, is_gpu: bool) -> Any:
    """The model of `peft_adapters.load_trainable_model`, without data."""
    from peft import get_peft_model

    is_quantized = settings.method == "qlora"
    config = AutoConfig.from_pretrained(base_folder, local_files_only=True, trust_remote_code=False)
    dtype = torch.bfloat16 if is_gpu or is_quantized else torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation="sdpa", trust_remote_code=False
        )
        if is_quantized:
            _pack_layers(model)
        adapted: Any = get_peft_model(model, lora_config(settings))
        _set_dtypes(adapted, is_quantized, is_gpu)
    return adapted


def _pack_layers(model: Any) -> None:
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and child is not head:
                setattr(parent, name, PackedLinear(child))


def _set_dtypes(model: Any, is_quantized: bool, is_gpu: bool) -> None:
    """The adapter is in 32 bits. With QLoRA so are norms, and on a CPU all unpacked weights."""
    for parameter in model.parameters():
        is_unpacked = is_quantized and parameter.is_floating_point() and (parameter.ndim == 1 or not is_gpu)
        if parameter.requires_grad or is_unpacked:
            parameter.data = parameter.data.to(torch.float32)


def _use_fake_tensors(model: Any) -> None:
    """Replace meta tensors by fake CPU tensors, for which attention runs fused as on a GPU, not as a full matrix."""
    replacements: dict[int, torch.Tensor] = {}  # keeps shared tensors shared
    for module in model.modules():
        for own, wrap in ((module._parameters, torch.nn.Parameter), (module._buffers, None)):
            for name, tensor in own.items():
                if tensor is None:
                    continue
                if id(tensor) not in replacements:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
                    replacements[id(tensor)] = wrap(empty, requires_grad=tensor.requires_grad) if wrap else empty
                own[name] = replacements[id(tensor)]
        if hasattr(module, "original_inv_freq"):
            module.original_inv_freq = module.inv_freq


def _peak_activation_bytes(model: Any, one: Pass, is_gpu: bool) -> int:
    """Bytes in addition to those live before the pass."""
    living = LiveTensors()
    for tensor in (*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None), *model.buffers()):
        living.add(tensor)
    before = living.bytes
    context: AbstractContextManager[Any] = torch.autocast("cpu", torch.bfloat16) if is_gpu else nullcontext()
    with living:
        ids = torch.zeros((one.rows, one.tokens), dtype=torch.long)
        with context:
            base = model.get_base_model()
            hidden = base.base_model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
            ).last_hidden_state
            loss = _loss(
                hidden.reshape(-1, hidden.shape[-1])[: one.supervised_tokens], base.get_output_embeddings(), is_gpu
            )
        loss.backward()
        del hidden, loss
    gc.collect()
    return living.peak - before


def _loss(hidden: torch.Tensor, output_layer: Any, is_gpu: bool) -> torch.Tensor:
    labels = torch.zeros(len(hidden), dtype=torch.long)
    if not is_gpu:
        return -score_positions(hidden, labels, output_layer)[0].sum()
    scores = trl_utils._ChunkedLogProbFunction.apply(
        hidden, output_layer.weight, output_layer.bias, labels, 1.0, trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE, None, 1.0,
        ("log_probs", "entropy", "is_top1"),
    )  # fmt: skip
    return -scores[0].sum()


def _parameter_bytes(parameters: Iterable[torch.Tensor]) -> int:
    return sum({id(p): p.numel() * p.element_size() for p in parameters}.values())
