"""The Python environment of Unsloth, if `make setup-unsloth` has built it; otherwise its tests are skipped.

CI does not build it, because it takes 3 GB.
"""

import pytest

from fine_tune_assets.core.settings import load_settings

UNSLOTH = load_settings().unsloth_interpreter
needs_unsloth = pytest.mark.skipif(not UNSLOTH.exists(), reason="Unsloth is not installed: run make setup-unsloth")
