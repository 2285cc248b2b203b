"""User-facing errors, and the one wording of the command that materializes assets.

A message states what happened, to which id, and what to do next. It contains ids, kinds and counts, never report text.
"""

import traceback

from fine_tune_assets.core.line_names import name_line


def materialize_hint(*assets: str) -> str:
    """The command for the assets in their order; without assets, the one that updates everything."""
    if not assets:
        return name_line("Run `fine-tune materialize`; while the Dagster daemon runs, it does this automatically.")
    return name_line(f"Run {', then '.join(f'`fine-tune materialize {asset}`' for asset in assets)}.")


def summarize_exception(error: BaseException) -> str:
    """The type and the last functions of an unexpected error, without its message, which may quote a report."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return f"{type(error).__name__} at " + " < ".join(f"{f.name} line {f.lineno}" for f in reversed(frames))


FAILED, GATE_CLOSED, DOES_NOT_FIT = 1, 3, 4
"""Exit statuses of commands. 2 is wrong usage."""


class FineTuneError(Exception):
    """Base of every error that this project raises on purpose."""

    exit_status = FAILED

    def __str__(self) -> str:
        return name_line(super().__str__())


class SettingsError(FineTuneError):
    """A setting or the settings file is wrong."""


class RecipeError(FineTuneError):
    """A recipe is invalid."""


class DomainPackError(FineTuneError):
    """A domain pack is missing or invalid, or does not support what a recipe asks for."""


class TableError(FineTuneError):
    """A table does not have the columns that its schema names."""


class OutdatedTableError(TableError):
    """A table of an older version lacks a column."""

    def __init__(self, table: str, column: str) -> None:
        super().__init__(
            f"The table {table} was written by an older version and has no column {column}. " + materialize_hint(table)
        )


class GateClosedError(FineTuneError):
    """A gate found no evidence, or evidence against continuing. Nothing was produced."""

    exit_status = GATE_CLOSED


class ChangedFolderError(GateClosedError):
    """A folder's content differs from the recorded fingerprint."""


class ModelFolderError(FineTuneError):
    """A folder can't be used as a base model."""


class ContextLengthError(FineTuneError):
    """Texts exceed the model's context. They are refused, since truncation could drop the essential part."""

    exit_status = DOES_NOT_FIT

    def __init__(self, too_long_count: int, texts: int, longest: int, limit: int) -> None:
        super().__init__(
            f"{too_long_count} of {texts} texts exceed the model's context of {limit} tokens, including their answers: the "
            f"longest has {longest}. Shorten or exclude them, or use a model with a longer context."
        )


class ScrubberError(FineTuneError):
    """The scrubber can't be built or run with the recipe's settings."""
