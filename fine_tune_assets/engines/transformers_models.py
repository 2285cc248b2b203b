"""Models and tokenizers from local folders, through transformers, in this process.

Owns loading (never from a hub, never remote code, Safetensors only), batched greedy generation and per-token
log-probabilities. Does not know what the text is about.
"""

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from fine_tune_assets.core.errors import TooLongForModelError
from fine_tune_assets.core.extras import extra_for
from fine_tune_assets.core.progress import Progress, silent
from fine_tune_assets.engines.nf4 import read_quantization
from fine_tune_assets.engines.portable import make_portable

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    text: str
    is_finished: bool
    """True when it ended with a stop token."""


def use_threads(threads: int) -> None:
    """Use that many CPU threads; 0 means all cores."""
    torch.set_num_threads(threads or os.cpu_count() or 1)


def best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def free_device_memory() -> None:
    """Give a GPU's memory back that nothing uses any more: torch keeps it for itself."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_training_format() -> Any:
    """A context in which a model computes as it does while it is trained: in 16 bits on a GPU, whatever its parts are kept in."""
    return torch.autocast("cuda", torch.bfloat16, enabled=best_device() == "cuda")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def nf4_config(is_sharded: bool = False) -> BitsAndBytesConfig:
    """4-bit NormalFloat with double quantisation and bfloat16 arithmetic (Dettmers et al. 2023, QLoRA).

    `is_sharded`: kept in numbers that FSDP can cut up, instead of in bytes.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_storage=torch.bfloat16 if is_sharded else torch.uint8,
    )


def load_model(
    folder: Path, is_quantized: bool = False, is_sharded: bool = False, layers: int | None = None
) -> PreTrainedModel:
    """Load a causal language model: float32 on a CPU, bfloat16 on a GPU; NF4 with `is_quantized`; its first `layers` only, if
    a number is given. Raises MissingExtraError for NF4 without bitsandbytes.

    One that will be sharded is loaded into the machine's memory, since it may fit on no GPU, but for NF4, which is made there.
    """
    if is_quantized:
        with extra_for("QLoRA"):
            import bitsandbytes  # noqa: F401 (transformers would name a command that does not follow the locks)
    device = best_device()
    # With its number: of several processes each has a GPU of its own.
    where = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device
    cut = {} if layers is None else {"config": _config_of_first(folder, layers)}
    return AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.bfloat16 if device == "cuda" else torch.float32,
        device_map=None if is_sharded and not is_quantized else where,
        quantization_config=nf4_config(is_sharded) if is_quantized else None,
        **cut,
    )


def _config_of_first(folder: Path, layers: int) -> Any:
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):  # one for each layer
        text.layer_types = text.layer_types[:layers]
    return config


def load_adapted(base: Path, adapter: Path, is_quantized: bool = False) -> PeftModel:
    """The base model with an adapter on it; `with model.disable_adapter():` is the base model alone.

    Raises GateClosedError for an adapter that learned on the base in another precision: it would be another model.
    """
    read_quantization(adapter, is_quantized)
    model = PeftModel.from_pretrained(load_model(base, is_quantized), adapter, is_trainable=False)
    return model.eval()


def write_merged(base: Path, adapter: Path, dtype: str, folder: Path) -> None:
    """A model folder with the adapter in its weights, for the time of a measurement: what is released is `merging`'s."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json", "*.gguf"))
    merged: Any = load_adapted(base, adapter).merge_and_unload()
    merged.to(getattr(torch, dtype)).save_pretrained(folder)
    make_portable(folder)


def context_tokens(model: Any) -> int | None:
    """Tokens of prompt and answer together that the model is made for; None if its configuration does not say."""
    found = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) else None


def require_fits(model: Any, lengths: Sequence[int]) -> None:
    """Raise TooLongForModelError unless texts of so many tokens fit into the model's context. None is ever cut."""
    limit = context_tokens(model)
    too_long = [length for length in lengths if limit is not None and length > limit]
    if too_long and limit is not None:
        raise TooLongForModelError(len(too_long), len(lengths), max(too_long), limit)


def leaves_room(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, max_new_tokens: int) -> bool:
    """Whether prompt and answer fit into the model's context."""
    limit = context_tokens(model)
    return limit is None or len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) + max_new_tokens <= limit


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: int,
    progress: Progress = silent,
) -> list[Answer]:
    """Greedy answers to rendered prompts, in their order. Prompts are batched by length, padded on the left.

    Raises TooLongForModelError if one of them leaves no room for its answer.
    """
    read = tokenizer(list(prompts), add_special_tokens=False)["input_ids"] if prompts else []
    require_fits(model, [len(tokens) + max_new_tokens for tokens in read])
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    answers: dict[int, Answer] = {}
    for indices in batches(order, batch_size):
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
                repetition_penalty=1.0,  # whatever generation_config.json says: a served model has none
                pad_token_id=tokenizer.pad_token_id,
            )
        for i, tokens in zip(indices, output[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
            answers[i] = _answer(tokenizer, tokens, stop_ids(model, tokenizer))
        progress(len(answers), len(prompts), "answers")
    return [answers[i] for i in range(len(prompts))]


def stop_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens at which `generate` ends an answer: of the tokenizer, and those that the model's generation_config.json names."""
    named = model.generation_config.eos_token_id
    return frozenset({tokenizer.eos_token_id, *([named] if isinstance(named, int) else named or [])})


def _answer(tokenizer: PreTrainedTokenizerBase, tokens: list[int], stops: Collection[int]) -> Answer:
    end = next((place for place, token in enumerate(tokens) if token in stops), None)
    return Answer(str(tokenizer.decode(tokens[:end], skip_special_tokens=True)).strip(), end is not None)


def token_log_probabilities(
    model: Any, tokenizer: PreTrainedTokenizerBase, text: str
) -> tuple[list[int], torch.Tensor]:
    """Token ids of `text`, and the log-probabilities of the next token at each of them: shape [tokens, vocabulary]."""
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    batch = tokenizer.pad({"input_ids": [tokens]}, return_tensors="pt").to(model.device)
    with torch.inference_mode():
        return tokens, torch.log_softmax(model(**batch).logits[0].float().cpu(), dim=-1)


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
