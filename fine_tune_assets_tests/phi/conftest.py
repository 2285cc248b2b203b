"""The real scrubber, built once: it takes about ten seconds."""

import pytest

from fine_tune_assets.phi.scrubbing import Scrubber, build_scrubber
from fine_tune_assets.recipes.loading import load_recipe
from fine_tune_assets.recipes.schema import ScrubSettings


@pytest.fixture(scope="session")
def settings() -> ScrubSettings:
    return load_recipe("demo_smollm2").scrub


@pytest.fixture(scope="session")
def scrubber(settings: ScrubSettings) -> Scrubber:
    return build_scrubber(settings)
