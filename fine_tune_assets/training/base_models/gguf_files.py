"""A GGUF as a Hugging Face folder: weights de-quantised, and a tokenizer that cuts text as the file says.

Owns reading what a GGUF says of itself, and the proof against llama.cpp, which reads the same file without us: the same
tokens, and nearly the same predictions. A file that fails it is refused. Imports transformers and llama.cpp when asked.
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
from fine_tune_assets.engines.gguf_model import GgufError, GgufModel, open_gguf
from fine_tune_assets.engines.portable import make_portable
from fine_tune_assets.training.base_models.model_files import shown

INSTEAD = "Import the Hugging Face folder that it was made from."
MAXIMUM_KL = 0.1
"""Mean nats a token between llama.cpp on the GGUF and the de-quantised folder. llama.cpp rounds activations as well: measured
.004 for SmolLM2-135M in Q4_1. A wrong rotary base, or query weights in another order, give more than 1."""
_DIGITS_THEN_BYTES = ("smollm", "starcoder", "refact", "codeshell", "exaone")
_BYTES = ("gpt-2", "phi-2", "mpt", "olmo")
"""`tokenizer.ggml.pre` → how text is cut before merges, for those that transformers leaves at bytes alone. For `smollm` that
is wrong: a blank line before a digit became two tokens, where the model has one (6 of 261 sample conversations)."""
_WHOLE_WORDS_FIRST = (
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
"""A word that is in the vocabulary is one token even where no merges lead to it. transformers leaves that out."""
TEXTS = (
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
    """What the folder is written in: what the file holds, or bfloat16 if that is quantised."""
    parameters: int
    end_of_turn: int | None


def read_gguf(gguf: Path) -> GgufFacts:
    """What the file says. Raises ModelFolderError if it is damaged, no whole language model, or of a kind that is not known."""
    from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

    try:
        values, _ = read_gguf_metadata(str(gguf))
        header = GgufHeader.from_file(str(gguf))
    # The reader raises whatever unpacking raises on a damaged file.
    except Exception as error:  # noqa: BLE001
        raise ModelFolderError(f"{shown(gguf.name)} is not a sound GGUF ({type(error).__name__}).") from None
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
    name, tokenizer = shown(gguf.name), values.get("tokenizer.ggml.model")
    if values.get("general.type", "model") != "model" or not parameters:
        raise ModelFolderError(f"{name} is not a whole model (an adapter, a projector or a vocabulary).")
    if int(values.get("split.count") or 1) > 1:
        raise ModelFolderError(f"{name} is one of several parts. Join them with llama.cpp's gguf-split --merge first.")
    if tokenizer == "llama":
        return
    pre = str(values.get("tokenizer.ggml.pre") or "")
    if tokenizer != "gpt2" or pre not in known_pre_tokenizers():
        raise ModelFolderError(
            f"{name} cuts text in a way that is not known here ({shown(str(tokenizer))}, {shown(pre) or 'none stated'}). "
            f"Its tokens would be others than the model learned. {INSTEAD}"
        )


def known_pre_tokenizers() -> set[str]:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    return {*GGUF_PRE_TOKENIZER_SPLITS, *_DIGITS_THEN_BYTES, *_BYTES}


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the Hugging Face folder, and prove it. Raises ModelFolderError."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer

    facts = read_gguf(gguf)
    # Alone in a folder: transformers would read other files in it too.
    with _parsed_once(), _alone(gguf) as place:
        tokenizer = gguf_tokenizer(place, facts.pre_tokenizer)
        if not tokenizer.chat_template:
            raise ModelFolderError(f"{shown(gguf.name)} has no chat template. An instruction-tuned model is needed.")
        _require_same_tokens(gguf, tokenizer, facts)
        _write_model(place, folder, facts)
    tokenizer.save_pretrained(folder)
    make_portable(folder)
    # Check it again as it will be loaded: the class that the folder names may rebuild the tokenizer differently.
    _require_same_tokens(gguf, load_tokenizer(folder), facts)
    require_same_predictions(gguf, folder)


@contextmanager
def _alone(gguf: Path) -> Any:
    with tempfile.TemporaryDirectory(prefix="importing-") as scratch:
        link = Path(scratch) / "model.gguf"
        os.symlink(gguf.resolve(), link)
        yield link


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Cache what transformers 5.19 repeats: it parses the file three times, and builds the map of tensor names for every module.
    Importing a model of 135M parameters takes 15 s instead of 28 s, process included."""
    import gguf

    kept = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, slow in kept.items():
        setattr(gguf, name, cache(slow))
    try:
        yield
    finally:
        for name, slow in kept.items():
            setattr(gguf, name, slow)


def _write_model(gguf: Path, folder: Path, facts: GgufFacts) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    try:
        # Without dequantize=True transformers keeps the packed blocks, crawls and can't save them.
        model: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32,
            local_files_only=True, trust_remote_code=False,
        )  # fmt: skip
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelFolderError(
            f"transformers can't read a GGUF of the architecture {shown(facts.architecture)} ({type(error).__name__}). {INSTEAD}"
        ) from None
    ends = {model.generation_config.eos_token_id, facts.end_of_turn} - {None}
    if len(ends) > 1:
        model.generation_config.eos_token_id = sorted(ends)
    model.to(getattr(torch, facts.weights_dtype)).save_pretrained(folder)
    del model
    gc.collect()


def gguf_tokenizer(gguf: Path, pre_tokenizer: str) -> Any:
    """The tokenizer of a GGUF that lies alone in its folder, cutting text before merges as `pre_tokenizer` says."""
    from tokenizers import normalizers, pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    backend = tokenizer.backend_tokenizer
    if pre_tokenizer in (*_DIGITS_THEN_BYTES, *_BYTES):
        cut = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
        digits = [pre_tokenizers.Digits(individual_digits=True)] if pre_tokenizer in _DIGITS_THEN_BYTES else []
        backend.pre_tokenizer = pre_tokenizers.Sequence([*digits, *cut])
    if pre_tokenizer in _WHOLE_WORDS_FIRST:
        backend.model.ignore_merges = True
    if isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace):
        # SentencePiece: llama.cpp, and the models' own files, put a space before a text that begins with one as well.
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        backend.pre_tokenizer = None
    return tokenizer


def _require_same_tokens(gguf: Path, tokenizer: Any, facts: GgufFacts) -> None:
    texts = [*TEXTS, _conversation(tokenizer)]
    ours = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    theirs = llama_cpp_tokens(gguf, texts)
    other = sum(a != b for a, b in zip(ours, theirs, strict=True))
    if other:
        raise ModelFolderError(
            f"{shown(gguf.name)}: the rebuilt tokenizer ({shown(facts.pre_tokenizer) or 'SentencePiece'}) reads {other} of "
            f"{len(texts)} sample texts as other tokens than llama.cpp does. {INSTEAD}"
        )


def _conversation(tokenizer: Any) -> str:
    """With the special tokens of the model's own template."""
    messages = [{"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": TEXTS[1]}]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    # The template is the stranger's: it raises what it likes.
    except Exception as error:  # noqa: BLE001
        raise ModelFolderError(
            f"The chat template can't render a question and an answer ({type(error).__name__})."
        ) from None


def llama_cpp_tokens(gguf: Path, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, as llama.cpp reads them with this file's vocabulary."""
    with _opened(gguf) as model:
        return [model.tokenize(text) for text in texts]


def require_same_predictions(gguf: Path, folder: Path) -> None:
    """Raise ModelFolderError unless the folder predicts what llama.cpp does with the file, but for rounding."""
    import torch

    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer, token_log_probabilities

    tokens, ours = token_log_probabilities(load_model(folder).eval(), load_tokenizer(folder), TEXTS[0])
    with _opened(gguf, len(tokens) + 8) as model:
        theirs = torch.log_softmax(torch.from_numpy(model.logits(tokens)), dim=-1)
    mean_kl = float((theirs.exp() * (theirs - ours)).sum(dim=-1).mean())
    if not mean_kl <= MAXIMUM_KL:  # NaN is above nothing
        raise ModelFolderError(
            f"{shown(gguf.name)}: the de-quantised weights predict something else than llama.cpp does (mean KL {mean_kl:.3f} "
            f"nats a token, limit {MAXIMUM_KL}). {INSTEAD}"
        )


@contextmanager
def _opened(gguf: Path, context_tokens: int = 0) -> Iterator[GgufModel]:
    try:
        with open_gguf(gguf, context_tokens) as model:
            yield model
    except GgufError:
        raise ModelFolderError(
            f"llama.cpp can't load {shown(gguf.name)}: it is damaged, or of a newer kind. Nothing can be proved of it."
        ) from None
