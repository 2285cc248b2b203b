"""Imports without what is not needed: nothing is loaded, and nothing is hidden from others afterwards."""

import subprocess
import sys

import pytest

from fine_tune_assets.phi.recognizers.presidio_recognizers import as_if_not_installed


def test_within_a_package_can_not_be_imported_and_afterwards_it_can() -> None:
    """The same process may train a tagger later, which needs torch."""
    sys.modules.pop("sndhdr", None)
    with as_if_not_installed("sndhdr"), pytest.raises(ImportError):
        import sndhdr
    import sndhdr

    assert sndhdr.what


def test_a_package_that_is_loaded_stays() -> None:
    """Whoever holds it would have another one otherwise."""
    loaded = sys.modules["json"]
    with as_if_not_installed("json"):
        import json

        assert json is loaded
    assert sys.modules["json"] is loaded


def _fail_within() -> None:
    with as_if_not_installed("sndhdr_"):
        raise KeyError


def test_an_error_leaves_nothing_hidden() -> None:
    """The next one to import it would be told that it is not installed."""
    with pytest.raises(KeyError):
        _fail_within()
    assert "sndhdr_" not in sys.modules


def test_a_scrubber_loads_neither_torch_nor_transformers() -> None:
    """They cost every process of the scrubber four times what it needs itself."""
    program = (
        "import sys; import fine_tune_assets.phi.recognizers.presidio_recognizers;"
        "from fine_tune_assets.phi.scrubbing import build_scrubber;"
        "from fine_tune_assets.recipes.schema import ScrubSettings; from fine_tune_assets.recipes.loader import *;"
        "scrubber = build_scrubber(load_recipe(shipped_recipes()['demo_smollm2']).scrub);"
        "print(list(scrubber.scrub_all([('Seen by Dr. Miller on 03/14/2024.', [])]))[0].text);"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    text, loaded = done.stdout.splitlines()
    assert "Miller" not in text
    assert loaded == "[]"
