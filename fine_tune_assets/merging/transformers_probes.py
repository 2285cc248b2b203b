"""Runs the probes on models in transformers, including models larger than memory.

Chooses the merge method by free memory, loads models at once or layer by layer, and collects log-probabilities and answers.
"""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel

from fine_tune_assets.core.processes.memory import available_bytes
from fine_tune_assets.engines.transformers_models import best_device, load_adapted, load_model, load_tokenizer, stop_ids
from fine_tune_assets.merging.parity import ProbeAnswer, ProbeOutputs
from fine_tune_assets.merging.probes import MAX_NEW_TOKENS, Probe, Probes
from fine_tune_assets.merging.shards import stored_tensors

GPU_BYTES, CPU_BYTES = 2, 4
"""Bytes per weight as `load_model` loads it."""
IN_MEMORY_BYTES = 6
"""Bytes per weight of an in-memory merge: float32 plus the 16-bit result."""
USABLE_FRACTION = 0.9
"""Share of free memory that may be used."""


@dataclass(frozen=True)
class MemoryBudget:
    ram_bytes: int
    """Free bytes of main memory."""
    gpu_bytes: int = 0
    """Free bytes of GPU memory; 0 without a GPU."""


def measure_budget() -> MemoryBudget:
    gpu = int(torch.cuda.mem_get_info()[0] * USABLE_FRACTION) if torch.cuda.is_available() else 0
    return MemoryBudget(int(available_bytes() * USABLE_FRACTION), gpu)


def choose_merge_method(parameters: int, budget: MemoryBudget) -> Literal["in_memory", "streaming"]:
    """Choose how to merge a model with this many weights. Both methods give the same weights."""
    return "in_memory" if parameters * IN_MEMORY_BYTES <= budget.ram_bytes else "streaming"


def count_parameters(folder: Path) -> int:
    return sum(tensor.element_count for tensor in stored_tensors(folder).values())


@contextmanager
def open_model(folder: Path, budget: MemoryBudget | None = None) -> Iterator[Any]:
    """Open a model folder: at once if it fits into free memory, otherwise with each layer loaded when it computes."""
    budget = budget or measure_budget()
    if count_parameters(folder) * (GPU_BYTES if budget.gpu_bytes else CPU_BYTES) <= (
        budget.gpu_bytes or budget.ram_bytes
    ):
        yield load_model(folder).eval()
        return
    with tempfile.TemporaryDirectory(prefix="offload-") as scratch:
        yield load_offloaded(folder, budget, Path(scratch)).eval()


@contextmanager
def open_adapted_model(base: Path, adapter: Path, is_quantized: bool, budget: MemoryBudget) -> Iterator[Any]:
    """Open the base model with the adapter as trained: in 4 bits if `is_quantized`."""
    if is_quantized:
        yield load_adapted(base, adapter, is_quantized)
        return
    with open_model(base, budget) as model:
        yield PeftModel.from_pretrained(model, adapter, is_trainable=False).eval()


def load_offloaded(folder: Path, budget: MemoryBudget, scratch: Path) -> Any:
    """Load in the files' number format: Safetensors are then read in place and nothing is written to `scratch`."""
    from transformers import AutoModelForCausalLM

    memory: dict[int | str, int] = {"cpu": budget.ram_bytes}
    if budget.gpu_bytes:
        memory[0] = budget.gpu_bytes
    return AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype="auto",
        device_map="auto",
        max_memory=memory,
        offload_folder=scratch,
    )


def probe_model(model: Any, folder: Path, probes: Probes) -> ProbeOutputs:
    """`folder` contains the tokenizer with which the probes were rendered."""
    tokenizer = load_tokenizer(folder)
    log_probabilities = tuple(_log_probabilities(model, text.ids) for text in probes.texts)
    return ProbeOutputs(log_probabilities, tuple(_probe_answers(model, tokenizer, probes.frozen)))


def _input_device(model: Any) -> str:
    """Return the device for inputs; with offloaded layers, that is not the device of the first weights."""
    return best_device() if getattr(model, "hf_device_map", None) else str(model.device)


def _log_probabilities(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids], device=_input_device(model))).logits[0]
    return torch.log_softmax(logits.float().cpu(), dim=-1)


def _probe_answers(model: Any, tokenizer: Any, frozen: tuple[Probe, ...]) -> list[ProbeAnswer]:
    rows = [{"input_ids": probe.ids} for probe in frozen]
    batch = tokenizer.pad(rows, return_tensors="pt", padding_side="left").to(_input_device(model))
    with torch.inference_mode():
        output = model.generate(
            **batch,
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            repetition_penalty=1.0,
            pad_token_id=tokenizer.pad_token_id,
        )
    stops = stop_ids(model, tokenizer)
    answers = output[:, batch["input_ids"].shape[1] :].tolist()
    return [decode_answer(tokenizer, probe, ids, stops) for probe, ids in zip(frozen, answers, strict=True)]


def decode_answer(tokenizer: Any, probe: Probe, ids: Sequence[int], stops: Collection[int]) -> ProbeAnswer:
    """Decode generated ids up to the first stop token."""
    end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    return ProbeAnswer(str(tokenizer.decode(ids[:end], skip_special_tokens=True)).strip(), len(probe.ids), end)
