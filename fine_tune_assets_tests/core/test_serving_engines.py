"""Engines are registered in one place, and each can be started."""

from typing import get_args

import pytest

from fine_tune_assets.core.serving_engines import (
    SERVING_ENGINES,
    UNKNOWN_FEATURES,
    EngineName,
    find_features,
    reads_folder,
)
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import EngineError
from fine_tune_assets.serving.engine_start import configured_program


@pytest.mark.parametrize("engine", get_args(EngineName))
def test_every_engine_of_the_recipe_schema_is_registered_and_has_a_launcher(engine: EngineName) -> None:
    """Otherwise a recipe could train for hours and then not be served."""
    assert set(SERVING_ENGINES) == set(get_args(EngineName))
    assert SERVING_ENGINES[engine].features == find_features(engine)
    assert configured_program(engine, Settings()).name


def test_an_unknown_engine_is_refused() -> None:
    """A release of a newer version may name one."""
    assert find_features("sglang") == UNKNOWN_FEATURES
    assert not reads_folder("sglang")
    with pytest.raises(EngineError, match="sglang"):
        configured_program("sglang", Settings())
