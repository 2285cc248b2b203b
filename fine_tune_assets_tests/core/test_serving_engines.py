"""Engines are declared in one place, and each declared one can be started."""

from typing import get_args

import pytest

from fine_tune_assets.core.serving_engines import NOTHING_KNOWN, SERVING_ENGINES, EngineName, features_of, reads_folder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import EngineError
from fine_tune_assets.serving.engine_start import program_of


@pytest.mark.parametrize("engine", get_args(EngineName))
def test_every_engine_that_a_recipe_may_name_is_declared_and_has_a_starter(engine: EngineName) -> None:
    """A recipe that names an engine without a starter would train for hours and then serve nothing."""
    assert set(SERVING_ENGINES) == set(get_args(EngineName))
    assert SERVING_ENGINES[engine].features == features_of(engine)
    assert program_of(engine, Settings()).name


def test_an_engine_that_this_version_does_not_know_serves_nothing() -> None:
    """A release of a newer version may name one."""
    assert features_of("sglang") == NOTHING_KNOWN
    assert not reads_folder("sglang")
    with pytest.raises(EngineError, match="sglang"):
        program_of("sglang", Settings())
