"""The events that cause notifications, and their messages.

Messages contain ids, asset names, error types and links only, so that no report text can leak.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.core.errors import SettingsError

EVENTS: Mapping[str, str] = {
    "run_failed": "A run failed",
    "verdict_hold": "A candidate is on hold and needs a signature",
    "verdict_refuse": "A candidate was refused",
    "rolled_back": "A release was rolled back automatically",
    "changed_release": "The files of a served release were changed",
    "broken_seal": "The ledger was changed from outside",
    "quarantine": "Corrections are in quarantine",
    "production_drift": "Requests differ from the training data",
}
"""Event → first sentence of its message."""
_ERROR_TYPE = compile_bounded(
    r"(?:[A-Za-z_0-9.]+\.)?(?:Failure: )?([A-Z][A-Za-z]{0,60}(?:Error|Exception|Exit|Interrupt|Warning))(?::|\s*$)"
)
"""Matches only the usual endings of Python error types, so that a word of a report before a colon does not match."""


@dataclass(frozen=True)
class Message:
    event: str
    about: str
    """Id of the run, verdict or deployment; for quarantine the day, so that one message a day is sent."""
    assets: tuple[str, ...] = ()
    error_kind: str = ""
    link: str = ""

    @property
    def subject(self) -> str:
        return f"fine-tune: {EVENTS[self.event]}"

    @property
    def as_json(self) -> dict[str, object]:
        return {
            "event": self.event,
            "text": EVENTS[self.event],
            "about": self.about,
            "assets": list(self.assets),
            "error_kind": self.error_kind,
            "link": self.link,
        }

    @property
    def body(self) -> str:
        lines = [f"{EVENTS[self.event]}.", f"About: {self.about}"]
        lines += [f"Assets: {', '.join(self.assets)}"] if self.assets else []
        lines += [f"Error: {self.error_kind}"] if self.error_kind else []
        return "\n".join([*lines, *([f"See {self.link}"] if self.link else [])]) + "\n"


def parse_events(listed: str) -> frozenset[str]:
    """Parse a comma-separated list of events. Raises SettingsError for unknown ones."""
    names = frozenset(name.strip() for name in listed.split(",") if name.strip())
    unknown = sorted(names - set(EVENTS))
    if unknown:
        raise SettingsError(f"notify.events contains unknown events: {', '.join(unknown)}. Known: {', '.join(EVENTS)}.")
    return names


def extract_error_type(message: str) -> str:
    """The error type at the start of a message; empty if there is none. The rest may quote a report and is omitted.

    >>> extract_error_type("dagster._core.definitions.events.Failure: RecipeError: There is no recipe")
    'RecipeError'
    """
    found = _ERROR_TYPE.match(message)
    return found[1] if found else ""
