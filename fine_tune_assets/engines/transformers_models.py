"""Loads models and tokenizers from local folders with transformers, and generates in this process.

Never loads from a hub, never runs remote code, and reads weights from Safetensors only.
"""

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from fine_tune_assets.core.errors import ContextLengthError
from fine_tune_assets.core.extras import require_extra
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.engines.compatibility import make_compatible
from fine_tune_assets.engines.nf4 import read_quantization

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    text: str
    is_finished: bool
    """True if the answer ended with a stop token."""


def set_threads(threads: int) -> None:
    """Set the number of CPU threads; 0 means all cores."""
    torch.set_num_threads(threads or os.cpu_count() or 1)


def best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def free_device_memory() -> None:
    """Release unused GPU memory that torch caches."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def training_autocast() -> Any:
    """A context that computes as in training: in bfloat16 on a GPU, whatever the number format of the weights."""
    return torch.autocast("cuda", torch.bfloat16, enabled=best_device() == "cuda")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def nf4_config(is_sharded: bool = False) -> BitsAndBytesConfig:
    """4-bit NormalFloat with double quantization and bfloat16 arithmetic (Dettmers et al. 2023, QLoRA).

    `is_sharded`: store weights as bfloat16, which FSDP can shard, instead of as bytes.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_storage=torch.bfloat16 if is_sharded else torch.uint8,
    )


def load_model(folder: Path, is_quantized: bool = False, is_sharded: bool = False) -> PreTrainedModel:
    """Load a causal language model: float32 on a CPU, bfloat16 on a GPU, NF4 with `is_quantized`. Raises MissingExtraError for
    NF4 without bitsandbytes.

    A model to be sharded is loaded into CPU memory, because it may fit on no GPU; NF4 is loaded onto the GPU, which quantizes it.
    """
    if is_quantized:
        with require_extra("QLoRA"):
            import bitsandbytes  # noqa: F401 (transformers would name a command that ignores the lock files)
    device = best_device()
    # With its index, because each process of several has its own GPU.
    device_map = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device
    return AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.bfloat16 if device == "cuda" else torch.float32,
        device_map=None if is_sharded and not is_quantized else device_map,
        quantization_config=nf4_config(is_sharded) if is_quantized else None,
    )


def load_adapted(base: Path, adapter: Path, is_quantized: bool = False) -> PeftModel:
    """The base model with an adapter; `with model.disable_adapter():` gives the base model.

    Raises GateClosedError if the adapter was trained on the base model in another precision.
    """
    read_quantization(adapter, is_quantized)
    model = PeftModel.from_pretrained(load_model(base, is_quantized), adapter, is_trainable=False)
    return model.eval()


def write_merged_model(base: Path, adapter: Path, dtype: str, folder: Path) -> None:
    """Write a temporary model folder with the merged adapter, for measurements. Releases are merged by `merging`."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json", "*.gguf"))
    merged: Any = load_adapted(base, adapter).merge_and_unload()
    merged.to(getattr(torch, dtype)).save_pretrained(folder)
    make_compatible(folder)


def context_tokens(model: Any) -> int | None:
    """The model's context, prompt and answer together; None if its configuration does not state it."""
    found = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) else None


def require_context_fits(model: Any, lengths: Sequence[int]) -> None:
    """Raise ContextLengthError unless texts of these lengths fit into the model's context. Texts are never truncated."""
    limit = context_tokens(model)
    too_long = [length for length in lengths if limit is not None and length > limit]
    if too_long and limit is not None:
        raise ContextLengthError(len(too_long), len(lengths), max(too_long), limit)


def has_room_for_answer(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, max_new_tokens: int) -> bool:
    """Whether prompt and answer fit into the model's context."""
    limit = context_tokens(model)
    return limit is None or len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) + max_new_tokens <= limit


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: int,
    progress: Progress = ignore_progress,
) -> list[Answer]:
    """Greedy answers to rendered prompts, in their order. Prompts are batched by length and padded on the left.

    Raises ContextLengthError if a prompt leaves no room for its answer.
    """
    token_ids = tokenizer(list(prompts), add_special_tokens=False)["input_ids"] if prompts else []
    require_context_fits(model, [len(tokens) + max_new_tokens for tokens in token_ids])
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    answers: dict[int, Answer] = {}
    for indices in batched(order, batch_size):
        batch = tokenizer(
            [prompts[i] for i in indices],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(model.device)
        with torch.inference_mode():
            output = model.generate(
                **batch,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                repetition_penalty=1.0,  # overrides generation_config.json, as for served models
                pad_token_id=tokenizer.pad_token_id,
            )
        for i, tokens in zip(indices, output[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
            answers[i] = _decode_answer(tokenizer, tokens, stop_ids(model, tokenizer))
        progress(len(answers), len(prompts), "answers")
    return [answers[i] for i in range(len(prompts))]


def stop_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens at which `generate` ends an answer: the EOS tokens of the tokenizer and of generation_config.json."""
    configured = model.generation_config.eos_token_id
    return frozenset({tokenizer.eos_token_id, *([configured] if isinstance(configured, int) else configured or [])})


def _decode_answer(tokenizer: PreTrainedTokenizerBase, tokens: list[int], stops: Collection[int]) -> Answer:
    end = next((index for index, token in enumerate(tokens) if token in stops), None)
    return Answer(str(tokenizer.decode(tokens[:end], skip_special_tokens=True)).strip(), end is not None)


def token_log_probabilities(
    model: Any, tokenizer: PreTrainedTokenizerBase, text: str
) -> tuple[list[int], torch.Tensor]:
    """Token ids of `text`, and the log-probabilities of the next token after each: shape [tokens, vocabulary]."""
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    batch = tokenizer.pad({"input_ids": [tokens]}, return_tensors="pt").to(model.device)
    with torch.inference_mode():
        return tokens, torch.log_softmax(model(**batch).logits[0].float().cpu(), dim=-1)


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
