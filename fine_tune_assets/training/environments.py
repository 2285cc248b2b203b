"""The environment that an engine trains in: which Python, and whether what it needs is there.

Owns the gate before a GPU is used. Asks the other Python for versions only: imports nothing of it.
"""

import json
import subprocess
import sys
from pathlib import Path

from fine_tune_assets.core.errors import GateClosedError

MISSING = (
    "There is no {what} for {python}. Run `make setup-unsloth` in the project's folder, name another environment's Python in "
    "FINE_TUNE_UNSLOTH_PYTHON, or set training.engine: trl in the recipe."
)
NEEDED = (
    "unsloth", "unsloth_zoo", "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "dagster-pipes", "jinja2",
    "matplotlib", "pyarrow", "pydantic", "pyyaml", "safetensors", "tensorboardX",
)  # fmt: skip
"""What `python -m fine_tune_assets.training` imports with Unsloth."""
_ASK = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class EngineMissingError(GateClosedError):
    """The recipe's engine is not installed on this machine."""


def require_environment(engine: str, unsloth_python: Path, is_cluster: bool) -> Path:
    """The Python that trains with `engine`. Raises EngineMissingError before anything is spent."""
    if engine == "trl":
        return Path(sys.executable)
    if is_cluster:
        raise EngineMissingError(
            "Unsloth trains on this machine, not on a Ray cluster: set training.engine: trl in the recipe."
        )
    found = installed_versions(unsloth_python)
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise EngineMissingError(MISSING.format(python=unsloth_python, what=", ".join(missing)))
    return unsloth_python


def installed_versions(python: Path) -> dict[str, str]:
    """Of `NEEDED`, what is installed for that Python. Raises EngineMissingError if there is none that answers."""
    try:
        asked = subprocess.run(
            [str(python), "-c", _ASK, *NEEDED], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        raise EngineMissingError(MISSING.format(python=python, what="Python that answers")) from None
    return dict(json.loads(asked.stdout))
