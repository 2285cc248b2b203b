"""Configurations of Llama models."""

from pathlib import Path

from fine_tune_assets.engines.model_sizes import ModelShape, read_model_shape
from fine_tune_assets_tests.training.published_configs import LLAMA_31_8B, LLAMA_31_70B, config_folder

PARAMETERS = {"8b": 8_030_261_248, "70b": 70_553_706_496}


def llama(folder: Path, size: str) -> ModelShape:
    config = LLAMA_31_8B if size == "8b" else LLAMA_31_70B
    return read_model_shape(config_folder(folder / size, config), PARAMETERS[size])
