"""Builds the real scrubber once, which takes about ten seconds, and the common fields of its requests."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from fine_tune_assets.phi.scrubber import Scrubber, build_scrubber
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import ScrubberSettings


@pytest.fixture(scope="session")
def settings() -> ScrubberSettings:
    return load_recipe("demo_smollm2").scrubber


@pytest.fixture(scope="session")
def scrubber(settings: ScrubberSettings) -> Scrubber:
    return build_scrubber(settings)


@pytest.fixture(scope="module")
def request_of(tmp_path_factory: pytest.TempPathFactory, settings: ScrubberSettings) -> dict[str, Any]:
    """A parsed JSON request; tests change copies of it."""
    folder = tmp_path_factory.mktemp("request")
    key = folder / "subjects.key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    return {
        "settings": json.loads(json.dumps(asdict(settings))),
        "key_file": str(key),
        "cache": str(folder / "cache"),
        "other_values": [],
        "today": "2026-03-01",
    }
