"""The packages that only some uses need, and the command that installs them.

Owns which package belongs to which extra of pyproject.toml. Never imports one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fine_tune_assets.core.errors import FineTuneError

EXTRA_OF = {
    "bitsandbytes": "qlora",
    "dagster_ray": "ray",
    "faker": "tagger",
    "mlflow": "mlflow",
    "optuna": "sweeps",
    "ray": "ray",
}
"""Module → extra of pyproject.toml."""


class MissingExtraError(FineTuneError):
    """A package of an extra is not installed."""

    def __init__(self, use: str, module: str) -> None:
        super().__init__(
            f"{use} needs {module}, of the extra `{EXTRA_OF[module]}`, which is not installed. Run `make setup-extras`."
        )


@contextmanager
def extra_for(use: str) -> Iterator[None]:
    """Imports of optional packages belong within. Raises MissingExtraError for `use`, such as "QLoRA"; any other import that
    fails does so as before."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRA_OF:
            raise
        raise MissingExtraError(use, module) from None
