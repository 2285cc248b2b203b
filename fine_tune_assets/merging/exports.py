"""Exports merged weights to smaller formats, and measures each against the weights that it was made from.

Owns the order of things for each format (write aside, prove, compare, keep), and that one that fails stops itself alone. How
files are made: `gguf.py`, `compression.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError, GateClosedError
from fine_tune_assets.core.files import folder_written_aside, locked, written_aside
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.chat import Message
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.engines.bundled_model import find_base_gguf
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.merging.compression import compress, read_compressed
from fine_tune_assets.merging.gguf import (
    Converter,
    ExportError,
    GgufFiles,
    base_config_of,
    read_gguf,
    tensor_types,
    write_lora_gguf,
)
from fine_tune_assets.merging.parity import Parity, Reading, compared
from fine_tune_assets.merging.probes import Probes, make_probes, write_probes_file
from fine_tune_assets.merging.transformers_replies import loaded, read_model
from fine_tune_assets.recipes.exports import GGUF_FORMATS, LORA, ParityLimits

LOCK = ".exporting.lock"


@dataclass(frozen=True)
class Export:
    """What is exported, and how it is asked."""

    merged: Path
    exports_dir: Path
    system_prompt: str
    turn_end_id: int
    """The token that the model learned to stop with."""
    compressing_python: Path
    """Of the environment with llmcompressor."""
    adapter: Path
    """What was merged, as PEFT stores it."""
    base_gguf: str
    """SHA-256 of the GGUF that the base model was made from; empty for a base of another origin."""


@dataclass(frozen=True)
class Exported:
    format: str
    why: str
    """Why it failed and what to do; empty if it passed."""
    parity: Parity | None = None
    file: Path | None = None
    """None for one that failed: it was not kept."""
    fingerprint: str | None = None
    size_bytes: int | None = None
    tensor_types: str | None = None
    probes_file: Path | None = None


class TooFarError(GateClosedError):
    """An export is not near enough to what it was made from."""

    def __init__(self, export_format: str, faults: Sequence[str], parity: Parity) -> None:
        super().__init__(
            f"The {export_format} export differs too much: {'; '.join(faults)}. Choose a finer format in the recipe's exports, "
            "or say in gate.export_limits what may be lost."
        )
        self.parity = parity


def export_all(
    export: Export,
    limits: Mapping[str, ParityLimits],
    conversations: Sequence[Sequence[Message]],
    progress: Progress,
) -> list[Exported]:
    """One result for each format of `limits`, in their order, whether it passed or not.

    One at a time in a folder: another one waits.
    """
    probes = make_probes(load_tokenizer(export.merged), conversations, export.system_prompt)
    with loaded(export.merged) as model:
        wanted = read_model(model, export.merged, probes)
    del model
    found = []
    with _only_export(export.exports_dir), Converter(export.merged, export.exports_dir) as converter:
        for done, (name, limit) in enumerate(limits.items(), start=1):
            found.append(_tried(export, name, limit, probes, wanted, converter))
            progress(done, len(limits), "exports")
    return found


def _tried(
    export: Export, name: str, limits: ParityLimits, probes: Probes, wanted: Reading, converter: Converter
) -> Exported:
    try:
        if name in GGUF_FORMATS:
            return _gguf(export, name, limits, probes, wanted, converter)
        return _compressed(export, name, limits, probes, wanted)
    except FineTuneError as error:
        return Exported(name, str(error), parity=getattr(error, "parity", None))


def _gguf(
    export: Export, name: str, limits: ParityLimits, probes: Probes, wanted: Reading, converter: Converter
) -> Exported:
    file = export.exports_dir / f"{export.merged.name}.{name}.gguf"
    with written_aside(file) as aside:
        files = _written(export, name, aside, converter)
        reading = read_gguf(files, probes, export.system_prompt, read_chat_template(export.merged), export.turn_end_id)
        parity = _near_enough(name, wanted, reading, probes, limits)
        types = tensor_types(aside)
    if name != LORA:
        converter.made[name] = file
    answers = write_probes_file(file.with_suffix(".probes.json"), probes, reading.replies)
    return Exported(name, "", parity, file, fingerprint_file(file), file.stat().st_size, types, answers)


def _written(export: Export, name: str, file: Path, converter: Converter) -> GgufFiles:
    if name != LORA:
        converter.write(name, file)
        return GgufFiles(file)
    base = find_base_gguf(export.base_gguf)
    if base is None:
        raise ExportError(
            f"{LORA} is served on top of the GGUF that the base model was made from, which is not installed. Choose "
            "another export."
        )
    write_lora_gguf(export.adapter, base_config_of(export.merged), file)
    return GgufFiles(base, file)


def _near_enough(name: str, wanted: Reading, reading: Reading, probes: Probes, limits: ParityLimits) -> Parity:
    parity, faults = compared(wanted, reading, probes.answers, limits)
    if faults:
        raise TooFarError(name, faults, parity)
    return parity


def _compressed(export: Export, name: str, limits: ParityLimits, probes: Probes, wanted: Reading) -> Exported:
    folder = export.exports_dir / f"{export.merged.name}.{name}"
    with folder_written_aside(folder) as aside:
        compress(export.merged, aside, name, export.compressing_python)
        reading = read_compressed(aside, probes, export.compressing_python)
        parity = _near_enough(name, wanted, reading, probes, limits)
    answers = write_probes_file(folder.with_name(f"{folder.name}.probes.json"), probes, reading.replies)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return Exported(name, "", parity, folder, fingerprint_folder(folder), size, None, answers)


@contextmanager
def _only_export(exports_dir: Path) -> Iterator[None]:
    """Hold the folder, and remove the unfinished files of exports that were killed: nobody else can be writing one now."""
    with locked(exports_dir / LOCK):
        for unfinished in exports_dir.glob(".*.gguf.*.tmp"):
            unfinished.unlink()
        yield
