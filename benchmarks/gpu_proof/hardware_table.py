"""The hardware page of the docs, from the published results: `benchmarks/results/gpu-*.json`. What was not measured is *planned*.

A dry run among the results is an error, so that the docs cannot show one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.origin import ROOT
from benchmarks.gpu_proof.results import MEASURED_PREFIX, SliceResult, read_measurement

RESULTS = ROOT / "benchmarks" / "results"
PLANNED, FAILED = "*planned*", "*failed*"
Format = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Row:
    what: str
    slice: str
    part: str
    show: Format
    target: str = ""


def read_published(folder: Path) -> list[SliceResult]:
    """Raises ResultError for dry runs and for other files."""
    return [read_measurement(path) for path in sorted(folder.glob(f"{MEASURED_PREFIX}*.json"))]


def hardware_page(folder: Path = RESULTS) -> str:
    results = read_published(folder)
    cards = sorted({str(result.origin.hardware["gpu"]) for result in results})
    lines = [
        _INTRODUCTION,
        f"| what | target | {' | '.join(cards) or 'GPU'} |",
        f"| --- | --- |{' --- |' * max(1, len(cards))}",
    ]
    for row in ROWS:
        cells = [_cell(row, [one for one in results if one.origin.hardware["gpu"] == card]) for card in cards]
        lines.append(f"| {row.what} | {row.target} | {' | '.join(cells or [PLANNED])} |")
    if results:
        lines += [_MACHINES, *map(_machine_line, results)]
    return "\n".join(lines) + "\n"


def _cell(row: Row, results: Iterable[SliceResult]) -> str:
    """The figure; PLANNED if the part was not tried on this card."""
    for result in results:
        part = result.parts.get(row.part)
        if result.slice == row.slice and part is not None and part.state != "skipped":
            return row.show(part.figures) if part.state == "measured" else FAILED
    return PLANNED


def _machine_line(result: SliceResult) -> str:
    hardware, versions = result.origin.hardware, result.origin.versions
    cells = (result.slice, hardware["gpu"], result.started_at[:10], hardware.get("cuda"))
    libraries = (versions.get(name, "") for name in ("torch", "transformers"))
    return f"| {' | '.join(map(str, (*cells, *libraries)))} |"


def _training(figures: Mapping[str, Any]) -> str:
    speed, peak = figures.get("tokens_per_second"), figures.get("peak_bytes")
    error = figures.get("plan_error")
    parts = [f"{speed:,.0f} tokens/s" if speed else "", f"{peak / 1e9:.1f} GB" if peak else ""]
    return ", ".join([*filter(None, parts), *([f"plan {error:+.1%}"] if error is not None else [])])


def _streams(figures: Mapping[str, Any]) -> str:
    gateway = figures["gateway"]
    refused = gateway["failed"] + gateway["told_to_come_again"]
    return (
        f"{gateway['tokens_per_second']:,.0f} tokens/s, {figures['gateway_share']:.0%} of {figures['engine']}; first token "
        f"{gateway['first_word_p50']:.2f} s (p95 {gateway['first_word_p95']:.2f} s)"
        f"{f'; {refused} failed' if refused else ''}"
    )


def _switch(figures: Mapping[str, Any]) -> str:
    extra = figures.get("switch_bytes")
    memory = f", {extra / 1e9:.1f} GB more" if extra is not None else ""
    return f"{figures['failed_or_cut']} of {figures['streams']} streams failed, {figures['seconds']:.0f} s{memory}"


def _turns(name: str) -> Format:
    def show(figures: Mapping[str, Any]) -> str:
        factor = figures[f"{name}_p95_factor"]
        return PLANNED if factor is None else f"p95 × {factor:.2f}, {figures[f'{name}_failed']} failed"

    return show


def _tests(figures: Mapping[str, Any]) -> str:
    return f"{figures['passed']} of {figures['tests']} passed, {len(figures['skipped'])} skipped"


_PLAN = "memory within 5 % of the plan"
ROWS = (
    Row("bf16 product, 8,192 × 8,192", "environment", "bf16_product", lambda f: f"{f['tflops']:.0f} TFLOP/s"),
    Row("NF4 layer, one token", "environment", "nf4_product", lambda f: f"{1e6 * f['one_token_seconds']:.0f} µs"),
    Row("Llama 3 8B, QLoRA, padded", "qlora", "qlora", _training, _PLAN),
    Row("Llama 3 8B, QLoRA, packed", "qlora", "qlora_packed", _training, _PLAN),
    Row("Llama 3 8B, QLoRA, activations stored", "qlora", "qlora_activations_stored", _training, _PLAN),
    Row("Llama 3 8B, QLoRA, paged optimizer", "qlora", "qlora_paged_optimizer", _training),
    Row("Llama 3 8B, LoRA in bf16", "qlora", "lora", _training, _PLAN),
    Row("Llama 3 8B, LoRA in bf16, packed", "qlora", "lora_packed", _training, _PLAN),
    Row("Mistral 7B, QLoRA, packed", "shapes", "Mistral-7B-v0.3", _training, _PLAN),
    Row("Qwen2.5 1.5B, QLoRA, packed", "shapes", "Qwen2.5-1.5B", _training, _PLAN),
    Row("Qwen2.5 7B, QLoRA, packed", "shapes", "Qwen2.5-7B", _training, _PLAN),
    Row("Llama 3 8B, QLoRA, plain TRL script", "qlora", "plain_trl_qlora", _training),
    Row("Llama 3 8B, QLoRA, Unsloth", "qlora", "unsloth_qlora", _training),
    Row(
        "Small model, QLoRA to merged weights",
        "small_model",
        "merged_weights",
        lambda f: f"KL {f['mean_kl']:.4f}, top-1 {f['top1_agreement']:.1%}",
        "the recipe's limits",
    ),
    Row(
        "Small model, signed release",
        "small_model",
        "release",
        lambda f: "verified" if f["is_changed_copy_refused"] else "",
        "a changed copy is refused",
    ),
    *(
        Row(
            f"Llama 3 8B through the gateway, streams: {streams}",
            "serving",
            f"streams_{streams}",
            _streams,
            "95 % of the engine",
        )
        for streams in (1, 8, 32, 128, 256)
    ),
    Row("Llama 3 8B, switch under load", "serving", "switch", _switch, "no failure"),
    Row("Serving during training, one card", "turns", "targets", _turns("training"), "p95 × 1.5, no failure"),
    Row("Serving during judging, one card", "turns", "targets", _turns("judging"), "p95 × 1.5, no failure"),
    Row("Tests marked `gpu`, training", "gpu_tests", "test_training_on_a_gpu", _tests, "all pass"),
)
_INTRODUCTION = """# Hardware

<!-- Generated by `make reference` from benchmarks/results/gpu-*.json. Do not edit. -->

What was measured on GPUs. *Planned* means that no result was published yet, and *failed* that the measurement ended in an error.
You can [run the proof](../../how-to/prove-the-gpu-path.md) on your card. Models of published sizes have random weights, which is
enough for speed and memory.
"""
_MACHINES = """
## Machines

| slice | GPU | date | CUDA | torch | transformers |
| --- | --- | --- | --- | --- | --- |"""
