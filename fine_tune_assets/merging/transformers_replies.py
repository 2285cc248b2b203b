"""What models in transformers say to the probes, also one that is larger than the memory.

Owns how much memory is free and so in which way a model is merged, loading a model folder whole or layer by layer from its files,
and asking it. Asked are log-probabilities and greedy answers.
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
from fine_tune_assets.merging.parity import Reading, Reply
from fine_tune_assets.merging.probes import MAX_NEW_TOKENS, Probe, Probes
from fine_tune_assets.merging.shards import stored_tensors

GPU_BYTES, CPU_BYTES = 2, 4
"""Of one weight, as `load_model` loads it."""
WHOLE_BYTES = 6
"""Of one weight while a model is merged whole: 32 bits, and the 16 bits that they become."""
SPARE = 0.9
"""Share of what is free that may be used."""


@dataclass(frozen=True)
class Room:
    memory: int
    """Free bytes of the machine."""
    gpu: int = 0
    """Free bytes of its GPU; 0 without one."""


def free_room() -> Room:
    gpu = int(torch.cuda.mem_get_info()[0] * SPARE) if torch.cuda.is_available() else 0
    return Room(int(available_bytes() * SPARE), gpu)


def route(parameters: int, room: Room) -> Literal["whole", "by_tensor"]:
    """How a model of so many weights is merged. Both ways give the same weights."""
    return "whole" if parameters * WHOLE_BYTES <= room.memory else "by_tensor"


def parameters_of(folder: Path) -> int:
    """Weights of the model in a folder."""
    return sum(tensor.numbers for tensor in stored_tensors(folder).values())


@contextmanager
def loaded(folder: Path, room: Room | None = None) -> Iterator[Any]:
    """The model of a folder: whole where it fits into what is free, else each layer from its file when it computes."""
    room = room or free_room()
    if parameters_of(folder) * (GPU_BYTES if room.gpu else CPU_BYTES) <= (room.gpu or room.memory):
        yield load_model(folder).eval()
        return
    with tempfile.TemporaryDirectory(prefix="offload-") as scratch:
        yield load_in_parts(folder, room, Path(scratch)).eval()


@contextmanager
def adapted(base: Path, adapter: Path, is_quantized: bool, room: Room) -> Iterator[Any]:
    """The base model with the adapter on it, as it was trained: in 4 bits with `is_quantized`."""
    if is_quantized:
        yield load_adapted(base, adapter, is_quantized)
        return
    with loaded(base, room) as model:
        yield PeftModel.from_pretrained(model, adapter, is_trainable=False).eval()


def load_in_parts(folder: Path, room: Room, scratch: Path) -> Any:
    """In the number format of its files: those of Safetensors are then read in place, and nothing is written to `scratch`."""
    from transformers import AutoModelForCausalLM

    memory: dict[int | str, int] = {"cpu": room.memory}
    if room.gpu:
        memory[0] = room.gpu
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


def read_model(model: Any, folder: Path, probes: Probes) -> Reading:
    """`folder` is where its tokenizer lies. The probes were rendered and counted with it."""
    tokenizer = load_tokenizer(folder)
    found = tuple(_log_probabilities(model, text.ids) for text in probes.texts)
    return Reading(found, tuple(_replies(model, tokenizer, probes.frozen)))


def _device(model: Any) -> str:
    """Where its inputs belong: with offloaded layers that is not where the first weights lie."""
    return best_device() if getattr(model, "hf_device_map", None) else str(model.device)


def _log_probabilities(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids], device=_device(model))).logits[0]
    return torch.log_softmax(logits.float().cpu(), dim=-1)


def _replies(model: Any, tokenizer: Any, frozen: tuple[Probe, ...]) -> list[Reply]:
    rows = [{"input_ids": probe.ids} for probe in frozen]
    batch = tokenizer.pad(rows, return_tensors="pt", padding_side="left").to(_device(model))
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
    return [reply_of(tokenizer, probe, ids, stops) for probe, ids in zip(frozen, answers, strict=True)]


def reply_of(tokenizer: Any, probe: Probe, ids: Sequence[int], stops: Collection[int]) -> Reply:
    """What was generated, up to the first token that ends a turn."""
    end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    return Reply(str(tokenizer.decode(ids[:end], skip_special_tokens=True)).strip(), len(probe.ids), end)
