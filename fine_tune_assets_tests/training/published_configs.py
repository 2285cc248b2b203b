"""config.json contents of the published shapes that are shipped."""

import json
from pathlib import Path

from fine_tune_assets.training.base_models.model_facts import published_shapes

LLAMA_31_8B = published_shapes()["Llama-3.1-8B-Instruct"].config
LLAMA_31_70B = published_shapes()["Llama-3.1-70B-Instruct"].config


def config_folder(folder: Path, config: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
