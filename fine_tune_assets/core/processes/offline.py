"""Every hub, telemetry and update switch of the libraries in use, turned off.

Imports none of these libraries, so that a process can do it before anything else.
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
"""Every hub, telemetry and update switch of the libraries in use, off; and their progress bars, which fill logs: ours tell
more. Set before any of them is imported."""


def use_large_pages() -> None:
    """Have torch put large tensors into pages of their own, which go back when they are freed: a training on a CPU holds 15 %
    less (docs/decisions/0021-the-resource-plan.md). Before torch is imported."""
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"


def go_offline() -> None:
    """Turn off every hub, telemetry and update switch for this process and its children."""
    os.environ.update(OFFLINE_ENVIRONMENT)
    # On some processors it advises at each import to install a package that fetches programs from a hub.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
