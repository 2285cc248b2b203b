"""Worker subprocess for `merge` and `export`; serves one request (see core/processes/worker.py)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fine_tune_assets.core.fingerprints import require_unchanged_folder
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.processes.worker_requests import ExportRequest, MergeRequest
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.recipes.export_settings import LORA_SAFETENSORS, ParityLimits


def merge(request: MergeRequest, progress: Progress) -> dict[str, Any]:
    base, adapter = Path(request["base_folder"]), Path(request["adapter_folder"])
    require_unchanged_folder(base, request["base_fingerprint"], "base model")
    require_unchanged_folder(adapter, request["adapter_id"], "adapter")
    from fine_tune_assets.merging.merge import MergeJob, merge_adapter
    from fine_tune_assets.merging.probes import held_out_conversations

    merged = merge_adapter(
        MergeJob(base, adapter, request["is_quantized"], request["dtype"]),
        weights_dir=Path(request["weights_dir"]),
        conversations=held_out_conversations(Path(request["instruction_set"])),
        system_prompt=request["system_prompt"],
        limits=ParityLimits(**request["limits"]),
        progress=progress,
    )
    return _as_json(merged)


def export(request: ExportRequest, progress: Progress) -> dict[str, Any]:
    merged = Path(request["merged_folder"])
    require_unchanged_folder(merged, request["weights_fingerprint"], "merged model")
    require_unchanged_folder(Path(request["adapter_folder"]), request["adapter_id"], "adapter")
    if LORA_SAFETENSORS in request["limits"]:
        require_unchanged_folder(Path(request["base_folder"]), request["base_fingerprint"], "base model")
    from fine_tune_assets.merging.exports import ExportJob, export_all
    from fine_tune_assets.merging.probes import held_out_conversations

    exported = export_all(
        ExportJob(
            merged,
            Path(request["weights_dir"]),
            request["system_prompt"],
            request["turn_end_id"],
            Path(request["llmcompressor_python"]),
            Path(request["adapter_folder"]),
            Path(request["base_folder"]),
            request["base_gguf"],
        ),
        {name: ParityLimits(**limits) for name, limits in request["limits"].items()},
        held_out_conversations(Path(request["instruction_set"])),
        progress,
    )
    return {"exports": [_as_json(one) for one in exported]}


def _as_json(result: Any) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(result).items()}


if __name__ == "__main__":
    serve_request({"merge": merge, "export": export})
