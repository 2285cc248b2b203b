"""Checks the Python environment of a training engine before a GPU is used.

Reads package versions in a subprocess; imports nothing from that environment.
"""

import json
import subprocess
import sys
from pathlib import Path

from fine_tune_assets.core.errors import GateClosedError

NOT_INSTALLED = (
    "{python} has no {what}. Run `make setup-unsloth` in the project's folder, set FINE_TUNE_UNSLOTH_PYTHON to another "
    "environment's Python, or set training.engine: trl in the recipe."
)
REQUIRED_PACKAGES = (
    "unsloth", "unsloth_zoo", "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "dagster-pipes", "jinja2",
    "matplotlib", "pyarrow", "pydantic", "pyyaml", "safetensors",
)  # fmt: skip
"""Packages that `python -m fine_tune_assets.training` imports with Unsloth."""
_VERSION_SCRIPT = """
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
    """The Python that trains with `engine`. Raises EngineMissingError if it lacks packages."""
    if engine == "trl":
        return Path(sys.executable)
    if is_cluster:
        raise EngineMissingError("Unsloth cannot train on a Ray cluster. Set training.engine: trl in the recipe.")
    found = installed_versions(unsloth_python)
    missing = [name for name in REQUIRED_PACKAGES if name not in found]
    if missing:
        raise EngineMissingError(NOT_INSTALLED.format(python=unsloth_python, what=", ".join(missing)))
    return unsloth_python


def installed_versions(python: Path) -> dict[str, str]:
    """Installed versions of `REQUIRED_PACKAGES` in that environment. Raises EngineMissingError if its Python does not run."""
    try:
        completed = subprocess.run(
            [str(python), "-c", _VERSION_SCRIPT, *REQUIRED_PACKAGES],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        raise EngineMissingError(NOT_INSTALLED.format(python=python, what="working Python")) from None
    return dict(json.loads(completed.stdout))
