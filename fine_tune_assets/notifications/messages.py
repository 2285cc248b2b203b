"""What people are told of what happened: which events there are, and the words. Pure.

Owns that no text of a report can be in a message: ids, names of assets, kinds of errors and links only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fine_tune_assets.core.errors import SettingsError

EVENTS: Mapping[str, str] = {
    "run_failed": "A run failed",
    "verdict_hold": "A candidate is on hold and waits for a signature",
    "verdict_refuse": "A candidate was refused",
    "rolled_back": "A release was left by itself",
    "quarantine": "Corrections wait in quarantine",
    "production_drift": "Requests are not like what the model was trained on",
}
"""Event → what a message says first."""
_KIND = re.compile(
    r"(?:[A-Za-z_0-9.]+\.)?(?:Failure: )?([A-Z][A-Za-z]{0,60}(?:Error|Exception|Exit|Interrupt|Warning))(?::|\s*$)"
)
"""Python's names of errors end so; a word of a report that stands before a colon does not."""


@dataclass(frozen=True)
class Message:
    event: str
    about: str
    """Id of the run, verdict or deployment; the day for the quarantine: once a day is enough."""
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


def wanted_events(listed: str) -> frozenset[str]:
    """The events of a setting's list. Raises SettingsError for one that there is not."""
    names = frozenset(name.strip() for name in listed.split(",") if name.strip())
    unknown = sorted(names - set(EVENTS))
    if unknown:
        raise SettingsError(f"notify.events names {', '.join(unknown)}. There are {', '.join(EVENTS)}.")
    return names


def kind_of_error(message: str) -> str:
    """The class that an error begins with; empty if it begins with none. What follows may be about a report: it is left out.

    >>> kind_of_error("dagster._core.definitions.events.Failure: RecipeError: There is no recipe")
    'RecipeError'
    """
    found = _KIND.match(message)
    return found[1] if found else ""
