"""Maps optional packages to the extras of pyproject.toml, and reports missing ones with the command that installs them."""

from collections.abc import Iterator
from contextlib import contextmanager

from fine_tune_assets.core.errors import FineTuneError

EXTRA_BY_MODULE = {
    "bitsandbytes": "qlora",
    "dagster_ray": "ray",
    "faker": "tagger",
    "mlflow": "mlflow",
    "ray": "ray",
}
"""Module → extra of pyproject.toml."""


class MissingExtraError(FineTuneError):
    """A package of an extra is not installed."""

    def __init__(self, use: str, module: str) -> None:
        super().__init__(
            f"{use} needs {module} from the extra `{EXTRA_BY_MODULE[module]}`, which is not installed. Run `make setup-extras`."
        )


@contextmanager
def require_extra(use: str) -> Iterator[None]:
    """Wrap imports of optional packages. Raises MissingExtraError that names `use`, such as "QLoRA"; other import errors pass."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRA_BY_MODULE:
            raise
        raise MissingExtraError(use, module) from None
