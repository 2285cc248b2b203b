"""Compresses merged weights for engines on a GPU (FP8, 4-bit), in an environment of its own, since its pins clash with ours.

Owns starting the worker (`llmcompressor_worker.py`) with that Python, and what goes to it and comes back: files. Imports
nothing of it.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.prompts.prompt_contract import generation_stops
from fine_tune_assets.engines.portable import make_portable
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.merging.gguf import ExportError, run_program
from fine_tune_assets.merging.merge import TOKENIZER_FILES
from fine_tune_assets.merging.parity import Reading
from fine_tune_assets.merging.probes import MAX_NEW_TOKENS, Probes
from fine_tune_assets.merging.transformers_replies import reply_of

WORKER = Path(__file__).with_name("llmcompressor_worker.py")
MISSING = (
    "There is no llmcompressor for {python}. Run `make setup-llmcompressor` in the project's folder, name another environment's "
    "Python in FINE_TUNE_LLMCOMPRESSOR_PYTHON, or take {name} out of the recipe's exports."
)


def compress(merged: Path, folder: Path, name: str, python: Path) -> None:
    """Write the merged weights in a compressed format, with tokenizer and template as they are. Raises ExportError."""
    if not python.is_file():
        raise ExportError(MISSING.format(python=python, name=name))
    command = [str(python), str(WORKER), "compress", str(merged), str(folder), name]
    run_program(command, folder / "config.json", f"llmcompressor could not make a {name} export", _environment())
    for file in TOKENIZER_FILES:
        if (merged / file).is_file():
            shutil.copy(merged / file, folder)
    make_portable(folder)


def read_compressed(folder: Path, probes: Probes, python: Path) -> Reading:
    """What the compressed model says, in the environment that can load it."""
    from safetensors.torch import load_file

    tokenizer = load_tokenizer(folder)
    stops = sorted({tokenizer.eos_token_id, *generation_stops(folder)})
    asked = {
        "texts": [text.ids for text in probes.texts],
        "prompts": [probe.ids for probe in probes.frozen],
        "max_new_tokens": MAX_NEW_TOKENS,
        "stops": stops,
        "pad": tokenizer.pad_token_id,
    }
    with tempfile.TemporaryDirectory(prefix="compressed-") as scratch:
        questions, answers = Path(scratch) / "questions.json", Path(scratch) / "answers"
        write_text(questions, json.dumps(asked))
        command = [str(python), str(WORKER), "read", str(folder), str(questions), str(answers)]
        run_program(command, answers / "replies.json", "The compressed model could not be asked", _environment())
        found = load_file(answers / "texts.safetensors")
        replies = json.loads((answers / "replies.json").read_text())
    texts = tuple(found[str(number)] for number in range(len(probes.texts)))
    return Reading(
        texts, tuple(reply_of(tokenizer, p, ids, stops) for p, ids in zip(probes.frozen, replies, strict=True))
    )


def _environment() -> dict[str, str]:
    """Without our own packages: the other environment has its versions."""
    return {name: value for name, value in {**os.environ, **OFFLINE_ENVIRONMENT}.items() if name != "PYTHONPATH"}
