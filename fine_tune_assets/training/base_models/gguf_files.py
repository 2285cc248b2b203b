"""Converts a GGUF into a Hugging Face folder: weights de-quantized, tokenizer rebuilt.

Verifies the result against llama.cpp, which reads the same file independently: it must give the same tokens and nearly the same
predictions. A file that fails is refused. transformers and llama.cpp are imported only when needed.
"""

import gc
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.engines.compatibility import make_compatible
from fine_tune_assets.engines.gguf_model import GgufError, GgufModel, open_gguf
from fine_tune_assets.training.base_models.model_files import printable

USE_ORIGINAL = "Import the Hugging Face folder from which it was made."
MAXIMUM_KL = 0.1
"""Limit for the mean KL divergence in nats per token between llama.cpp on the GGUF and the de-quantized folder. llama.cpp also
rounds activations: measured 0.004 for SmolLM2-135M in Q4_1. A wrong rotary base or permuted query weights give more than 1."""
_DIGITS_THEN_BYTE_LEVEL = ("smollm", "starcoder", "refact", "codeshell", "exaone")
_BYTE_LEVEL = ("gpt-2", "phi-2", "mpt", "olmo")
"""Values of `tokenizer.ggml.pre` for which transformers pre-tokenizes by bytes only. For `smollm` that is wrong: a blank line
before a digit becomes two tokens where the model has one (6 of 261 sample conversations)."""
_IGNORE_MERGES = (
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "tekken",
)
"""A word in the vocabulary is one token even if no merges produce it. transformers omits this setting."""
SAMPLE_TEXTS = (
    "Patient seen on 12/03, BP 128/84, 10 mg twice daily.\n\n2. Type 2 diabetes\n\n\n3 months\tstable",
    "She's 45; it's they'll WE'VE don't -- 1,234.56 mmol/l (98.6°F) ±0.5 µg x10^9/L",
    "  two spaces,   three, \t tab \r\n windows line\n \n end \n",
    "Ünïcödé naïve Straße 东京 Привет مرحبا שלום 🙂👍🏽 1234567890 ½ ² №5 e\u0301",
    "def f(x):\n    return x**2  # 100%\n| a | b |\n|---|---|\nhttps://example.org/a?b=1&c=2",
    "HbA1cLevel camelCase SNAKE_CASE CT-scan 3x5cm q.d. w/o ↑↓ “quoted” ‘single’ … – —",
)


@dataclass(frozen=True)
class GgufFacts:
    architecture: str
    pre_tokenizer: str
    licence: str
    source: str
    name: str
    weights_dtype: str
    """Number format of the written folder: the file's, or bfloat16 if that is quantized."""
    parameters: int
    end_of_turn: int | None


def read_gguf_facts(gguf: Path) -> GgufFacts:
    """The file's metadata. Raises ModelFolderError if it is damaged, not a complete language model, or of an unknown kind."""
    from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

    try:
        values, _ = read_gguf_metadata(str(gguf))
        header = GgufHeader.from_file(str(gguf))
    # The reader raises any kind of exception on a damaged file.
    except Exception as error:  # noqa: BLE001
        raise ModelFolderError(
            f"{printable(gguf.name)} can't be read ({type(error).__name__}): it is damaged, or transformers does not support its "
            "kind of tensors."
        ) from None
    parameters = sum(prod(tensor.shape) for tensor in header.tensors)
    _require_language_model(gguf, values, parameters)
    return GgufFacts(
        architecture=str(values.get("general.architecture")),
        pre_tokenizer=str(values.get("tokenizer.ggml.pre") or ""),
        licence=str(values.get("general.license") or ""),
        source=str(values.get("general.source.url") or values.get("general.repo_url") or ""),
        name=str(values.get("general.name") or ""),
        weights_dtype=str(header.dtype or "bfloat16").removeprefix("torch."),
        parameters=parameters,
        end_of_turn=values.get("tokenizer.ggml.eot_token_id"),
    )


def _require_language_model(gguf: Path, values: dict[str, Any], parameters: int) -> None:
    name, tokenizer = printable(gguf.name), values.get("tokenizer.ggml.model")
    if values.get("general.type", "model") != "model" or not parameters:
        raise ModelFolderError(f"{name} is not a complete model but an adapter, a projector or a vocabulary.")
    if int(values.get("split.count") or 1) > 1:
        raise ModelFolderError(
            f"{name} is one of several parts. Join them with llama.cpp's `gguf-split --merge` first."
        )
    if tokenizer == "llama":
        return
    pre = str(values.get("tokenizer.ggml.pre") or "")
    if tokenizer != "gpt2" or pre not in known_pre_tokenizers():
        raise ModelFolderError(
            f"{name} uses an unknown pre-tokenizer ({printable(str(tokenizer))}, {printable(pre) or 'none stated'}), so its "
            f"tokens might differ from the training tokens. {USE_ORIGINAL}"
        )


def known_pre_tokenizers() -> set[str]:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    return {*GGUF_PRE_TOKENIZER_SPLITS, *_DIGITS_THEN_BYTE_LEVEL, *_BYTE_LEVEL}


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the Hugging Face folder and verify it. Raises ModelFolderError."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer

    facts = read_gguf_facts(gguf)
    # Linked into an empty folder, because transformers would also read other files next to it.
    with _cached_parsing(), _linked_alone(gguf) as link:
        tokenizer = load_gguf_tokenizer(link, facts.pre_tokenizer)
        if not tokenizer.chat_template:
            raise ModelFolderError(f"{printable(gguf.name)} has no chat template. Import an instruction-tuned model.")
        _require_same_tokens(gguf, tokenizer, facts)
        _write_model(link, folder, facts)
    tokenizer.save_pretrained(folder)
    make_compatible(folder)
    # Check again after loading: the class named in the folder may rebuild the tokenizer differently.
    _require_same_tokens(gguf, load_tokenizer(folder), facts)
    require_same_predictions(gguf, folder)


@contextmanager
def _linked_alone(gguf: Path) -> Any:
    with tempfile.TemporaryDirectory(prefix="importing-") as scratch:
        link = Path(scratch) / "model.gguf"
        os.symlink(gguf.resolve(), link)
        yield link


@contextmanager
def _cached_parsing() -> Iterator[None]:
    """Cache what transformers 5.19 repeats: it parses the file three times and builds the tensor name map for every module.
    Importing a model of 135M parameters takes 15 s instead of 28 s, process start included."""
    import gguf

    originals = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, original in originals.items():
        setattr(gguf, name, cache(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(gguf, name, original)


def _write_model(gguf: Path, folder: Path, facts: GgufFacts) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    try:
        # Without dequantize=True, transformers keeps the packed blocks, is very slow and cannot save them.
        model: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32,
            local_files_only=True, trust_remote_code=False,
        )  # fmt: skip
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelFolderError(
            f"transformers cannot read a GGUF of the architecture {printable(facts.architecture)} ({type(error).__name__}). "
            f"{USE_ORIGINAL}"
        ) from None
    ends = {model.generation_config.eos_token_id, facts.end_of_turn} - {None}
    if len(ends) > 1:
        model.generation_config.eos_token_id = sorted(ends)
    model.to(getattr(torch, facts.weights_dtype)).save_pretrained(folder)
    del model
    gc.collect()


def load_gguf_tokenizer(gguf: Path, pre_tokenizer: str) -> Any:
    """The tokenizer of a GGUF in a folder without other files, with the pre-tokenizer that `pre_tokenizer` names."""
    from tokenizers import normalizers, pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    backend = tokenizer.backend_tokenizer
    if pre_tokenizer in (*_DIGITS_THEN_BYTE_LEVEL, *_BYTE_LEVEL):
        byte_level = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
        digits = [pre_tokenizers.Digits(individual_digits=True)] if pre_tokenizer in _DIGITS_THEN_BYTE_LEVEL else []
        backend.pre_tokenizer = pre_tokenizers.Sequence([*digits, *byte_level])
    if pre_tokenizer in _IGNORE_MERGES:
        backend.model.ignore_merges = True
    if isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace):
        # SentencePiece: like llama.cpp and the models' own files, prepend a space even to a text that begins with one.
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        backend.pre_tokenizer = None
    return tokenizer


def _require_same_tokens(gguf: Path, tokenizer: Any, facts: GgufFacts) -> None:
    texts = [*SAMPLE_TEXTS, _sample_conversation(tokenizer)]
    rebuilt = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    reference = tokenize_with_llama_cpp(gguf, texts)
    differing = sum(a != b for a, b in zip(rebuilt, reference, strict=True))
    if differing:
        raise ModelFolderError(
            f"{printable(gguf.name)}: the rebuilt tokenizer ({printable(facts.pre_tokenizer) or 'SentencePiece'}) and llama.cpp "
            f"tokenize {differing} of {len(texts)} sample texts differently. {USE_ORIGINAL}"
        )


def _sample_conversation(tokenizer: Any) -> str:
    """A conversation with the special tokens of the model's template."""
    messages = [{"role": "user", "content": SAMPLE_TEXTS[0]}, {"role": "assistant", "content": SAMPLE_TEXTS[1]}]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    # The template is untrusted and may raise anything.
    except Exception as error:  # noqa: BLE001
        raise ModelFolderError(
            f"The chat template cannot render a question and an answer ({type(error).__name__})."
        ) from None


def tokenize_with_llama_cpp(gguf: Path, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text from llama.cpp with this file's vocabulary."""
    with _open_in_llama_cpp(gguf) as model:
        return [model.tokenize(text) for text in texts]


def require_same_predictions(gguf: Path, folder: Path) -> None:
    """Raise ModelFolderError unless the folder's predictions match llama.cpp's on the file, except for rounding."""
    import torch

    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer, token_log_probabilities

    tokens, converted = token_log_probabilities(load_model(folder).eval(), load_tokenizer(folder), SAMPLE_TEXTS[0])
    with _open_in_llama_cpp(gguf, len(tokens) + 8) as model:
        reference = torch.log_softmax(torch.from_numpy(model.logits(tokens)), dim=-1)
    mean_kl = float((reference.exp() * (reference - converted)).sum(dim=-1).mean())
    if not mean_kl <= MAXIMUM_KL:  # also true for NaN
        raise ModelFolderError(
            f"{printable(gguf.name)}: predictions of the de-quantized weights differ from llama.cpp's (mean KL {mean_kl:.3f} "
            f"nats per token, limit {MAXIMUM_KL}). {USE_ORIGINAL}"
        )


@contextmanager
def _open_in_llama_cpp(gguf: Path, context_tokens: int = 0) -> Iterator[GgufModel]:
    try:
        with open_gguf(gguf, context_tokens) as model:
            yield model
    except GgufError:
        raise ModelFolderError(
            f"llama.cpp cannot load {printable(gguf.name)}, so it cannot be verified: it is damaged or of a newer format."
        ) from None
