"""Errors of the desk, rendered as pages that say what happened and what to do next. They never quote user input."""

from dataclasses import dataclass


@dataclass
class PageError(Exception):
    """Ends a request with an error page."""

    status: int
    title: str
    message: str


def not_found() -> PageError:
    return PageError(404, "Page not found", "The address is wrong, or the page was removed.")


def forbidden() -> PageError:
    return PageError(403, "Not for your role", "Your roles don't allow this. If you need access, ask an operator.")


def cross_origin() -> PageError:
    return PageError(403, "Refused", "The request did not come from a page of the desk. Nothing was changed.")


def too_large() -> PageError:
    return PageError(413, "Too large", "The request is larger than the desk accepts. Nothing was changed.")


def ledger_unavailable() -> PageError:
    return PageError(
        503,
        "The ledger can't be reached",
        "Nothing was changed. Go back and try again in a moment. If it persists, tell an operator.",
    )


def internal_error() -> PageError:
    return PageError(
        500,
        "The desk failed",
        "This is an error of the desk. Go back and try again. An operator finds details in its log.",
    )
