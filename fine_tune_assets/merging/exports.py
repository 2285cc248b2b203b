"""Exports merged weights to smaller formats and compares each export with the merged weights.

Each format is written to a temporary path, checked, compared, and kept only if it passes. A failed format does not affect the
others. `gguf.py`, `compression.py` and `served_adapter.py` write the files.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError, GateClosedError
from fine_tune_assets.core.files import atomic_folder, atomic_write, file_lock
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.conversations import Message
from fine_tune_assets.engines.bundled_model import find_base_gguf
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.merging.compression import compress, probe_compressed
from fine_tune_assets.merging.gguf import (
    ExportError,
    GgufConverter,
    GgufFiles,
    probe_gguf,
    read_base_config,
    tensor_types,
    write_lora_gguf,
)
from fine_tune_assets.merging.parity import Parity, ProbeOutputs, compare
from fine_tune_assets.merging.probes import Probes, make_probes, write_probes_file
from fine_tune_assets.merging.served_adapter import write_served_adapter
from fine_tune_assets.merging.transformers_probes import measure_budget, open_adapted_model, open_model, probe_model
from fine_tune_assets.recipes.export_settings import GGUF_FORMATS, LORA, LORA_SAFETENSORS, ParityLimits

LOCK = ".exporting.lock"


@dataclass(frozen=True)
class ExportJob:
    """What to export, and how to probe it."""

    merged: Path
    exports_dir: Path
    system_prompt: str
    turn_end_id: int
    """The token with which the model learned to stop."""
    llmcompressor_python: Path
    """Python of the environment with llmcompressor."""
    adapter: Path
    """PEFT folder of the merged adapter."""
    base: Path
    """Folder of the base model."""
    base_gguf: str
    """SHA-256 of the GGUF file that the base model was converted from; empty if there is none."""


@dataclass(frozen=True)
class ExportResult:
    format: str
    reason: str
    """Failure and remedy; empty if passed."""
    parity: Parity | None = None
    file: Path | None = None
    """None if the export failed: its file was deleted."""
    fingerprint: str | None = None
    size_bytes: int | None = None
    tensor_types: str | None = None
    probes_file: Path | None = None


class ParityError(GateClosedError):
    """An export differs too much from the merged weights."""

    def __init__(self, export_format: str, deviations: Sequence[str], parity: Parity) -> None:
        super().__init__(
            f"The {export_format} export differs too much: {'; '.join(deviations)}. "
            "Choose a finer format in the recipe's exports, or relax gate.export_limits."
        )
        self.parity = parity


def export_all(
    export: ExportJob,
    limits: Mapping[str, ParityLimits],
    conversations: Sequence[Sequence[Message]],
    progress: Progress,
) -> list[ExportResult]:
    """Return one result for each format of `limits`, in order, whether it passed or not.

    Locks the folder: a concurrent call waits.
    """
    probes = make_probes(load_tokenizer(export.merged), conversations, export.system_prompt)
    with open_model(export.merged) as model:
        reference = probe_model(model, export.merged, probes)
    del model
    results = []
    with _exclusive_export(export.exports_dir), GgufConverter(export.merged, export.exports_dir) as converter:
        for done, (name, limit) in enumerate(limits.items(), start=1):
            results.append(_export_or_fail(export, name, limit, probes, reference, converter))
            progress(done, len(limits), "exports")
    return results


def _export_or_fail(
    export: ExportJob,
    name: str,
    limits: ParityLimits,
    probes: Probes,
    reference: ProbeOutputs,
    converter: GgufConverter,
) -> ExportResult:
    try:
        if name in GGUF_FORMATS:
            return _export_gguf(export, name, limits, probes, reference, converter)
        if name == LORA_SAFETENSORS:
            return _export_adapter(export, limits, probes, reference)
        return _export_compressed(export, name, limits, probes, reference)
    except FineTuneError as error:
        return ExportResult(name, str(error), parity=getattr(error, "parity", None))


def _export_gguf(
    export: ExportJob,
    name: str,
    limits: ParityLimits,
    probes: Probes,
    reference: ProbeOutputs,
    converter: GgufConverter,
) -> ExportResult:
    file = export.exports_dir / f"{export.merged.name}.{name}.gguf"
    with atomic_write(file) as aside:
        files = _write_gguf(export, name, aside, converter)
        reading = probe_gguf(files, probes, export.system_prompt, read_chat_template(export.merged), export.turn_end_id)
        parity = _measure_parity(name, reference, reading, probes, limits)
        types = tensor_types(aside)
    if name != LORA:
        converter.finished[name] = file
    answers = write_probes_file(file.with_suffix(".probes.json"), probes, reading.answers)
    return ExportResult(name, "", parity, file, fingerprint_file(file), file.stat().st_size, types, answers)


def _write_gguf(export: ExportJob, name: str, file: Path, converter: GgufConverter) -> GgufFiles:
    if name != LORA:
        converter.write(name, file)
        return GgufFiles(file)
    base = find_base_gguf(export.base_gguf)
    if base is None:
        raise ExportError(
            f"{LORA} needs the GGUF file that the base model was converted from, which is not installed. Choose "
            "another format."
        )
    write_lora_gguf(export.adapter, read_base_config(export.merged), file)
    return GgufFiles(base, file)


def _measure_parity(
    name: str, reference: ProbeOutputs, reading: ProbeOutputs, probes: Probes, limits: ParityLimits
) -> Parity:
    parity, deviations = compare(reference, reading, probes.answers, limits)
    if deviations:
        raise ParityError(name, deviations, parity)
    return parity


def _export_adapter(export: ExportJob, limits: ParityLimits, probes: Probes, reference: ProbeOutputs) -> ExportResult:
    folder = export.exports_dir / f"{export.merged.name}.{LORA_SAFETENSORS}"
    with atomic_folder(folder) as aside:
        write_served_adapter(export.adapter, export.merged, aside)
        # As vLLM applies it: to the base model in 16 bits, even if it was trained on 4.
        with open_adapted_model(export.base, export.adapter, is_quantized=False, budget=measure_budget()) as model:
            reading = probe_model(model, export.merged, probes)
        del model
        parity = _measure_parity(LORA_SAFETENSORS, reference, reading, probes, limits)
    return _folder_result(LORA_SAFETENSORS, folder, parity, probes, reading)


def _export_compressed(
    export: ExportJob, name: str, limits: ParityLimits, probes: Probes, reference: ProbeOutputs
) -> ExportResult:
    folder = export.exports_dir / f"{export.merged.name}.{name}"
    with atomic_folder(folder) as aside:
        compress(export.merged, aside, name, export.llmcompressor_python)
        reading = probe_compressed(aside, probes, export.llmcompressor_python)
        parity = _measure_parity(name, reference, reading, probes, limits)
    return _folder_result(name, folder, parity, probes, reading)


def _folder_result(name: str, folder: Path, parity: Parity, probes: Probes, reading: ProbeOutputs) -> ExportResult:
    answers = write_probes_file(folder.with_name(f"{folder.name}.probes.json"), probes, reading.answers)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return ExportResult(name, "", parity, folder, fingerprint_folder(folder), size, None, answers)


@contextmanager
def _exclusive_export(exports_dir: Path) -> Iterator[None]:
    """Lock the folder and remove unfinished files: with the lock held, they can only come from a killed export."""
    with file_lock(exports_dir / LOCK):
        for unfinished in exports_dir.glob(".*.gguf.*.tmp"):
            unfinished.unlink()
        yield
