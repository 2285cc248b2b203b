"""Requests to a language model that judges."""

from pathlib import Path
from typing import Any

from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets_tests.clinical_domain import CHECKS
from fine_tune_assets_tests.judging.chat_server import MODEL

CLINICAL = read_rubric("clinical", "clinical")


def judging_request(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "rubric",
        "rubric": [vars(one) for one in CLINICAL],
        "labels": {},
        "checks": CHECKS,
        "verifier": "",
        "backend": "endpoint",
        "model": MODEL,
        "concurrency": 4,
        "retries": 2,
        "context_tokens": 2048,
        "url": url,
        "key_file": "",
        "vllm_python": str(folder / "none" / "python"),
        "threads": 1,
        "llama_server": "",
        "cache": str(folder / "cache" / "kept.sqlite"),
        "weights": str(folder / "weights"),
        "run_folder": str(folder / "run"),
        "pause_seconds": 0.01,
        "template_kwargs": {},
        **changes,
    }
