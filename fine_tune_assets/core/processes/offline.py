"""Disables downloads, telemetry and update checks of the libraries in use.

Imports none of these libraries, so that a process can call it first.
"""

import logging
import os

OFFLINE_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_MODE": "disabled",
    "ANONYMIZED_TELEMETRY": "False",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}
"""Disables downloads, telemetry, update checks and progress bars, which fill logs. Set it before importing the libraries."""


def use_large_pages() -> None:
    """Make torch allocate large tensors in transparent huge pages, which are returned when freed: a training on a CPU uses 15 %
    less memory (docs/decisions/0012-training.md). Call it before importing torch."""
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"


def go_offline() -> None:
    """Apply `OFFLINE_ENVIRONMENT` to this process and its children."""
    os.environ.update(OFFLINE_ENVIRONMENT)
    # On some CPUs, each import logs the advice to install a package that downloads kernels from a hub.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
