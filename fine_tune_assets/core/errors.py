"""The errors that people read, and the one wording of "materialize this next".

A message says what happened, to which id, and what to do next. It never holds report text: ids, kinds and counts only.
"""

import traceback


def materialize_hint(*assets: str) -> str:
    """Name the assets in the order in which they have to be made; none: whatever is not up to date."""
    if not assets:
        return "Run `fine-tune materialize`; while the Dagster daemon runs, it does this automatically."
    return f"Run {', then '.join(f'`fine-tune materialize {asset}`' for asset in assets)}."


def without_message(error: BaseException) -> str:
    """An unexpected error as its type and the functions it came through: its message may quote a report."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return f"{type(error).__name__} at " + " < ".join(f"{f.name} line {f.lineno}" for f in reversed(frames))


class FineTuneError(Exception):
    """Base of every error that this project raises on purpose."""


class SettingsError(FineTuneError):
    """A setting or the settings file is wrong."""


class RecipeError(FineTuneError):
    """A recipe can't be used as it is written."""


class TableError(FineTuneError):
    """A table does not have the columns that its schema names."""


class OldTableError(TableError):
    """A table was made by an older version and lacks a column that is asked for."""

    def __init__(self, table: str, column: str) -> None:
        super().__init__(
            f"The table {table} was made by an older version and has no column {column}. " + materialize_hint(table)
        )


class GateClosedError(FineTuneError):
    """A gate found no evidence, or evidence against going on. Nothing was produced."""


class ChangedFolderError(GateClosedError):
    """A folder of weights holds something else than what was measured."""


class ModelFolderError(FineTuneError):
    """A folder can't be used as a base model."""


class TooLongForModelError(FineTuneError):
    """Texts are longer than a model's context. They are refused, not cut: what was cut off might have been what counts."""

    def __init__(self, too_long: int, texts: int, longest: int, limit: int) -> None:
        super().__init__(
            f"{too_long} of {texts} texts, with room for their answers, are longer than the model's context: {longest} tokens "
            f"where {limit} fit. Shorten them or leave them out, or take a model with a longer context."
        )


class ScrubberError(FineTuneError):
    """The scrubber can't be built or run as the recipe wants it."""
