"""Blocked imports: unneeded packages are not loaded, and afterwards they are available again."""

import subprocess
import sys

import pytest

from fine_tune_assets.phi.recognizers.presidio_recognizers import hide_optional_imports


def test_import_fails_inside_the_block_and_works_afterwards() -> None:
    """The same process may later train a tagger, which needs torch."""
    sys.modules.pop("sndhdr", None)
    with hide_optional_imports("sndhdr"), pytest.raises(ImportError):
        import sndhdr
    import sndhdr

    assert sndhdr.what


def test_loaded_package_stays_available() -> None:
    """Otherwise modules that hold a reference to it would have a different copy."""
    loaded = sys.modules["json"]
    with hide_optional_imports("json"):
        import json

        assert json is loaded
    assert sys.modules["json"] is loaded


def _fail_within() -> None:
    with hide_optional_imports("sndhdr_"):
        raise KeyError


def test_error_in_the_block_restores_imports() -> None:
    """Otherwise the next import would report that the package is not installed."""
    with pytest.raises(KeyError):
        _fail_within()
    assert "sndhdr_" not in sys.modules


def test_scrubber_loads_neither_torch_nor_transformers() -> None:
    """They cost four times what a scrubber process otherwise needs."""
    program = (
        "import sys; import fine_tune_assets.phi.recognizers.presidio_recognizers;"
        "from fine_tune_assets.phi.scrubber import build_scrubber;"
        "from fine_tune_assets.recipes.schema import ScrubberSettings; from fine_tune_assets.recipes.loader import *;"
        "scrubber = build_scrubber(load_recipe(shipped_recipes()['demo_smollm2']).scrubber);"
        "print(list(scrubber.scrub_all([('Seen by Dr. Miller on 03/14/2024.', [])]))[0].text);"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    text, loaded = done.stdout.splitlines()
    assert "Miller" not in text
    assert loaded == "[]"
