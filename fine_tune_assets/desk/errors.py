"""Errors of the desk, as pages that say what happened and what to do next. They never repeat what was typed."""

from dataclasses import dataclass


@dataclass
class PageError(Exception):
    """Ends a visit with a page."""

    status: int
    title: str
    message: str


def not_found() -> PageError:
    return PageError(404, "There is nothing here", "The address is wrong, or what stood here is gone.")


def forbidden() -> PageError:
    return PageError(403, "Not for your role", "Your roles don't allow this. Ask an operator if they should.")


def not_from_here() -> PageError:
    return PageError(403, "Refused", "This did not come from a page of the desk. Nothing was changed.")


def too_large() -> PageError:
    return PageError(413, "Too large", "What was sent is larger than the desk takes. Nothing was changed.")


def ledger_away() -> PageError:
    return PageError(
        503, "The ledger can't be reached", "Nothing was changed. Go back and try again in a moment; tell an operator."
    )


def unexpected() -> PageError:
    return PageError(
        500, "The desk failed", "It is the desk's fault, not yours. Its log says where. Go back, try again."
    )
