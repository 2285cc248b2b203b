"""Merging and export as a process: `merge` and `export`, one request each (see core/worker.py)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.chat import render
from fine_tune_assets.core.fingerprints import fingerprint_text, require_folder
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.worker import serve_request

PROBES = 8
"""Frozen probes: whole test conversations, about 1,500 tokens in the demo."""
PROBE_CHARACTERS = 3000


def _probes(instruction_set: str, model_folder: Path) -> list[str]:
    from fine_tune_assets.engines.transformers_models import load_tokenizer

    rows = [row for row in pq.read_table(instruction_set).to_pylist() if row["split"] == "test"]
    chosen = sorted(rows, key=lambda row: fingerprint_text(row["example_id"]))[:PROBES]
    tokenizer = load_tokenizer(model_folder)
    return [render(tokenizer, row["messages"], add_generation_prompt=False)[:PROBE_CHARACTERS] for row in chosen]


def merge(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    base, adapter = Path(request["base_folder"]), Path(request["adapter_folder"])
    require_folder(base, request["base_fingerprint"], "base model")
    require_folder(adapter, request["adapter_id"], "adapter")
    from fine_tune_assets.merging.merging import merge_adapter

    merged = merge_adapter(
        base=base,
        adapter=adapter,
        weights_dir=Path(request["weights_dir"]),
        is_quantized=request["is_quantized"],
        dtype=request["dtype"],
        probes=_probes(request["instruction_set"], base),
        maximum_kl=request["maximum_kl"],
        progress=progress,
    )
    return {**asdict(merged), "folder": str(merged.folder)}


def export(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    merged, formats = Path(request["merged_folder"]), request["formats"]
    require_folder(merged, request["weights_fingerprint"], "merged model")
    from fine_tune_assets.merging.gguf import export_gguf

    probes = _probes(request["instruction_set"], merged)
    exports = []
    for done, gguf_format in enumerate(formats, start=1):
        exported = export_gguf(
            merged, Path(request["weights_dir"]), gguf_format, probes, request["maximum_kl"], request["turn_end_id"]
        )
        exports.append({**asdict(exported), "file": str(exported.file)})
        progress(done, len(formats), "exports")
    return {"exports": exports}


if __name__ == "__main__":
    serve_request({"merge": merge, "export": export})
