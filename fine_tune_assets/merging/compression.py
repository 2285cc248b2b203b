"""Compresses merged weights for GPU engines (FP8, 4-bit) with llmcompressor.

llmcompressor's pinned dependencies clash with ours, so `llmcompressor_worker.py` runs in a separate environment and exchanges
files; this module imports nothing from it.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.prompts.prompt_contract import read_generation_stops
from fine_tune_assets.engines.compatibility import make_compatible
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.merging.gguf import ExportError, run_program
from fine_tune_assets.merging.merge import TOKENIZER_FILES
from fine_tune_assets.merging.parity import ProbeOutputs
from fine_tune_assets.merging.probes import MAX_NEW_TOKENS, Probes
from fine_tune_assets.merging.transformers_probes import decode_answer

WORKER = Path(__file__).with_name("llmcompressor_worker.py")
NOT_INSTALLED = (
    "llmcompressor is not installed for {python}. Run `make setup-llmcompressor` in the project folder, set "
    "FINE_TUNE_LLMCOMPRESSOR_PYTHON to another environment's Python, or remove {name} from the recipe's exports."
)


def compress(merged: Path, folder: Path, name: str, python: Path) -> None:
    """Write the compressed weights with unchanged tokenizer and chat template. Raises ExportError."""
    if not python.is_file():
        raise ExportError(NOT_INSTALLED.format(python=python, name=name))
    command = [str(python), str(WORKER), "compress", str(merged), str(folder), name]
    run_program(command, folder / "config.json", f"llmcompressor could not make a {name} export", _environment())
    for file in TOKENIZER_FILES:
        if (merged / file).is_file():
            shutil.copyfile(merged / file, folder / file)
    make_compatible(folder)


def probe_compressed(folder: Path, probes: Probes, python: Path) -> ProbeOutputs:
    """Run the probes in the environment that can load the compressed model."""
    from safetensors.torch import load_file

    tokenizer = load_tokenizer(folder)
    stops = sorted({tokenizer.eos_token_id, *read_generation_stops(folder)})
    request = {
        "texts": [text.ids for text in probes.texts],
        "prompts": [probe.ids for probe in probes.frozen],
        "max_new_tokens": MAX_NEW_TOKENS,
        "stops": stops,
        "pad": tokenizer.pad_token_id,
    }
    with tempfile.TemporaryDirectory(prefix="compressed-") as scratch:
        questions, answers = Path(scratch) / "questions.json", Path(scratch) / "answers"
        write_text(questions, json.dumps(request))
        command = [str(python), str(WORKER), "read", str(folder), str(questions), str(answers)]
        run_program(command, answers / "replies.json", "The compressed model could not be probed", _environment())
        outputs = load_file(answers / "texts.safetensors")
        replies = json.loads((answers / "replies.json").read_text())
    texts = tuple(outputs[str(number)] for number in range(len(probes.texts)))
    return ProbeOutputs(
        texts, tuple(decode_answer(tokenizer, p, ids, stops) for p, ids in zip(probes.frozen, replies, strict=True))
    )


def _environment() -> dict[str, str]:
    """Drop our packages from the path: the other environment has its own versions."""
    return {name: value for name, value in {**os.environ, **OFFLINE_ENVIRONMENT}.items() if name != "PYTHONPATH"}
