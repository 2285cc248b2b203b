"""What can go wrong with the scrubber, for people. Owns the error that several of its modules raise."""

from fine_tune_assets.core.errors import FineTuneError


class ScrubberError(FineTuneError):
    """The scrubber can't be built or run as the recipe wants it."""
