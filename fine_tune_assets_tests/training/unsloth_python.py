"""The environment that Unsloth is installed in, where there is one.

CI does not build it (3 GB): there and after `make setup` alone these tests are skipped, with the reason. `make setup-unsloth`
makes it.
"""

import pytest

from fine_tune_assets.core.settings import load_settings

UNSLOTH = load_settings().unsloth_interpreter
needs_unsloth = pytest.mark.skipif(not UNSLOTH.exists(), reason="Unsloth is not installed: run make setup-unsloth")
