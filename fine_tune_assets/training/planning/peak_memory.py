"""How much memory one training step holds at its peak, counted without the weights and without a GPU.

The base model's own code runs, with its adapter, forwards and backwards, on tensors that have shapes and no numbers
(PyTorch's FakeTensorMode): each tensor that comes to life is counted until the last reference to it goes. So activations follow
any architecture, and an 8B model is counted on a laptop. What torch's allocators hold beyond the tensors is not counted here.
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
from fine_tune_assets.training.lora.adapters import lora_config
from fine_tune_assets.training.planning.shapes import Pass, StepMemory
from fine_tune_assets.training.supervision.supervised_loss import score_positions

BLOCK, SECOND_BLOCK = 64, 256
"""Weights that share a scale in NF4, and scales that share one when they are quantised again (QLoRA, section 3)."""


class Living(TorchDispatchMode):
    """Bytes of all tensors that are alive; each storage counts once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known = WeakIdKeyDictionary()

    def count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._known:
            size = storage.nbytes()
            self._known[storage] = weakref.finalize(storage, self._gone, size)
            self.bytes += size
            self.peak = max(self.peak, self.bytes)

    def _gone(self, size: int) -> None:
        self.bytes -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.count(leaf)
        return result


class _Unpacked(torch.autograd.Function):
    """A product with weights that are unpacked for it, as in bitsandbytes: nothing of them is kept for the way back."""

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
    """A linear layer in NF4 with its scales quantised again."""

    def __init__(self, plain: torch.nn.Linear) -> None:
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None, "meta", torch.bfloat16)
        self.weight = torch.nn.Parameter(
            torch.empty(packed_bytes(plain.weight.numel()), dtype=torch.uint8, device="meta"), requires_grad=False
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return _packed_product(rows, self.out_features, self.bias)


def _packed_product(rows: torch.Tensor, outputs: int, bias: torch.Tensor | None) -> torch.Tensor:
    return _Unpacked.apply(rows, outputs, bias)  # type: ignore[no-any-return]


def packed_bytes(weights: int) -> int:
    """Four bits a weight, a byte a block, and two numbers of 32 bits for each 256 blocks."""
    blocks = -(-weights // BLOCK)
    return -(-weights // 2) + blocks + 8 * -(-blocks // SECOND_BLOCK)


def step_memory(
    base_folder: Path, settings: TrainingSettings, one: Pass, is_gpu: bool, is_checkpointed: bool
) -> StepMemory:
    """Peak of a training step with this pass. Reads the folder's config.json only."""
    model = _shaped_model(base_folder, settings, is_gpu)
    with FakeTensorMode():
        _give_shapes_only(model)
        frozen = _bytes(p for p in model.parameters() if not p.requires_grad)
        trained = [p for p in model.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        if is_checkpointed:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        activations = _peak_of(model, one, is_gpu)
    adapter = _bytes(trained)
    layers = [_bytes(p for p in layer.parameters() if not p.requires_grad) for layer in _layers(model)]
    # AdamW keeps two numbers for each that is trained.
    return StepMemory(frozen, adapter, adapter, 2 * adapter, activations, layer=max(layers), root=frozen - sum(layers))


def _layers(model: Any) -> list[Any]:
    """The longest list of modules: the model's repeated blocks."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return max((list(found) for found in lists), key=len)


@dataclass(frozen=True)
class BaseFacts:
    hidden_size: int
    layers: int
    parameters: int


@cache
def base_facts(base_folder: Path) -> BaseFacts:
    """Of a folder's config.json."""
    config: Any = AutoConfig.from_pretrained(base_folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    text = config.get_text_config()
    return BaseFacts(text.hidden_size, text.num_hidden_layers, model.num_parameters())


def _shaped_model(base_folder: Path, settings: TrainingSettings, is_gpu: bool) -> Any:
    """As `adapting.adapted_model` makes it, without numbers."""
    from peft import get_peft_model

    is_quantized = settings.method == "qlora"
    config = AutoConfig.from_pretrained(base_folder, local_files_only=True, trust_remote_code=False)
    dtype = torch.bfloat16 if is_gpu or is_quantized else torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation="sdpa", trust_remote_code=False
        )
        if is_quantized:
            _pack(model)
        adapted: Any = get_peft_model(model, lora_config(settings))
        if is_quantized:
            _in_formats_of_qlora(adapted, is_gpu)
    return adapted


def _pack(model: Any) -> None:
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and child is not head:
                setattr(parent, name, PackedLinear(child))


def _in_formats_of_qlora(model: Any, is_gpu: bool) -> None:
    """Norms are of 32 bits, on a CPU all that is not packed; TRL turns the adapter into 16."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
        elif parameter.is_floating_point() and (parameter.ndim == 1 or not is_gpu):
            parameter.data = parameter.data.to(torch.float32)


def _give_shapes_only(model: Any) -> None:
    """Fake tensors of a CPU in the place of meta ones: attention then runs in one piece, as on a GPU, not as a matrix."""
    made: dict[int, torch.Tensor] = {}  # what two modules share stays shared
    for module in model.modules():
        for own, wrap in ((module._parameters, torch.nn.Parameter), (module._buffers, None)):
            for name, tensor in own.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
                    made[id(tensor)] = wrap(empty, requires_grad=tensor.requires_grad) if wrap else empty
                own[name] = made[id(tensor)]
        if hasattr(module, "original_inv_freq"):
            module.original_inv_freq = module.inv_freq


def _peak_of(model: Any, one: Pass, is_gpu: bool) -> int:
    """Bytes above what lives before the pass."""
    living = Living()
    for tensor in (*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None), *model.buffers()):
        living.count(tensor)
    before = living.bytes
    context: AbstractContextManager[Any] = torch.autocast("cpu", torch.bfloat16) if is_gpu else nullcontext()
    with living:
        ids = torch.zeros((one.rows, one.tokens), dtype=torch.long)
        with context:
            base = model.get_base_model()
            hidden = base.base_model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
            ).last_hidden_state
            loss = _loss(hidden.reshape(-1, hidden.shape[-1])[: one.learned], base.get_output_embeddings(), is_gpu)
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


def _bytes(parameters: Iterable[torch.Tensor]) -> int:
    return sum({id(p): p.numel() * p.element_size() for p in parameters}.values())
