"""The real scrubber, built once: it takes about ten seconds; and what every request to it holds."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from fine_tune_assets.phi.scrubbing import Scrubber, build_scrubber
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import ScrubSettings


@pytest.fixture(scope="session")
def settings() -> ScrubSettings:
    return load_recipe("demo_smollm2").scrub


@pytest.fixture(scope="session")
def scrubber(settings: ScrubSettings) -> Scrubber:
    return build_scrubber(settings)


@pytest.fixture(scope="module")
def request_of(tmp_path_factory: pytest.TempPathFactory, settings: ScrubSettings) -> dict[str, Any]:
    """As JSON brings it; tests change copies."""
    folder = tmp_path_factory.mktemp("request")
    key = folder / "patients.key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    return {
        "settings": json.loads(json.dumps(asdict(settings))),
        "key_file": str(key),
        "cache": str(folder / "cache"),
        "other_values": [],
        "today": "2026-03-01",
    }
