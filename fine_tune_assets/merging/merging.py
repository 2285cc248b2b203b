"""Merges an adapter into the weights it was trained on, and proves that nothing was lost.

Owns the merged Safetensors folder and the parity figures of each hop. LoRA merges into the unquantised base; QLoRA into
the de-quantised NF4 base that it was trained on (measured on SmolLM2-135M: merged into the unquantised base instead, KL is
.026 in place of .0003).
"""

import gc
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import folder_written_aside
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.portable import make_portable
from fine_tune_assets.engines.transformers_models import (
    load_adapted,
    load_model,
    load_tokenizer,
    token_log_probabilities,
)

SHARD_SIZE = "4GB"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
"""Copied from the base: the served template is the original one, byte for byte. For some families the converter to GGUF reads
`tokenizer.model` only."""


@dataclass(frozen=True)
class Parity:
    """How much two models differ over the same probes."""

    mean_kl: float
    """Mean over tokens of KL(first || second), in nats."""
    top1_agreement: float
    tokens: int


@dataclass(frozen=True)
class Merged:
    weights_fingerprint: str
    folder: Path
    dtype: str
    size_bytes: int
    parity: Parity


def merge_adapter(
    base: Path,
    adapter: Path,
    weights_dir: Path,
    is_quantized: bool,
    dtype: str,
    probes: Sequence[str],
    maximum_kl: float,
    progress: Progress,
) -> Merged:
    """Merge, save, load again and compare. Raises GateClosedError (nothing is kept) if they differ too much."""
    import torch
    from peft import PeftModel

    tokenizer = load_tokenizer(base)
    adapted: Any = load_adapted(base, adapter, is_quantized)
    before = [token_log_probabilities(adapted, tokenizer, probe)[1] for probe in probes]
    progress(1, 3, "merge steps: adapter probed")
    if is_quantized:
        # What is merged is what the adapter was trained on: the NF4 weights, as plain numbers.
        adapted = PeftModel.from_pretrained(load_model(base, is_quantized=True).dequantize(), adapter)
    merged = adapted.merge_and_unload().to(getattr(torch, dtype))
    with tempfile.TemporaryDirectory(prefix="merging-") as scratch:
        saved = Path(scratch) / "merged"
        merged.save_pretrained(saved, max_shard_size=SHARD_SIZE)
        for name in TOKENIZER_FILES:
            if (base / name).is_file():
                shutil.copy(base / name, saved)
        make_portable(saved)
        del adapted, merged  # the comparison loads the merged weights again: one copy at a time
        gc.collect()
        progress(2, 3, "merge steps: merged")
        parity = compare(before, _probe(saved, probes))
        if not parity.mean_kl <= maximum_kl:  # weights that overflowed give NaN, which is above nothing
            raise GateClosedError(
                f"Merging changed the model: mean KL {parity.mean_kl:.5f} nats per token, limit {maximum_kl}. "
                "Check that the adapter was trained on this base model."
            )
        fingerprint = fingerprint_folder(saved)
        folder = weights_dir / short(fingerprint)
        with folder_written_aside(folder) as aside:
            shutil.copytree(saved, aside, dirs_exist_ok=True)
    progress(3, 3, "merge steps: compared")
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return Merged(fingerprint, folder, dtype, size, parity)


def _probe(folder: Path, probes: Sequence[str]) -> list[Any]:
    tokenizer, model = load_tokenizer(folder), load_model(folder).eval()
    return [token_log_probabilities(model, tokenizer, probe)[1] for probe in probes]


def compare(first: Sequence[Any], second: Sequence[Any]) -> Parity:
    """Compare log-probabilities of shape [tokens, vocabulary], one array a probe."""
    kl, same, tokens = 0.0, 0, 0
    for a, b in zip(first, second, strict=True):
        kl += float((a.exp() * (a - b)).sum(dim=-1).sum())
        same += int((a.argmax(dim=-1) == b.argmax(dim=-1)).sum())
        tokens += a.shape[0]
    return Parity(kl / tokens, same / tokens, tokens)
