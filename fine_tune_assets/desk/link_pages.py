"""Signing in with a one-time link, as `fine-tune demo` and `fine-tune desk link` print it.

Owns the page and the limit on wrong links. The token stands behind the `#` of the address. A browser sends that part to nobody,
so no log, proxy, preview or Referer header has it. Opening the page uses nothing up: its button sends the token in a form.
"""

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from starlette.responses import Response

from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.sign_in_pages import REFUSAL_SECONDS, let_in
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.sign_in_links import use_link

if TYPE_CHECKING:
    from fine_tune_assets.desk.application import Desk

WRONG_LINKS = 10
WINDOW_SECONDS = 60.0
_REFUSAL = (
    "This link has been used or has expired, or it is incomplete. Get a new one on this machine: `fine-tune desk link`"
)
_TOO_MANY = (
    "There were too many wrong links in the last minute. Wait a minute, then try again: your link is still valid."
)


class WrongLinks:
    """Counts wrong links. After `WRONG_LINKS` within `WINDOW_SECONDS` none is looked at. Safe to share between threads."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=WRONG_LINKS)
        self._lock = threading.Lock()

    def are_too_many(self, now: float) -> bool:
        with self._lock:
            return len(self._times) == WRONG_LINKS and now - self._times[0] < WINDOW_SECONDS

    def add(self, now: float) -> None:
        with self._lock:
            self._times.append(now)


def show_link(desk: "Desk", visit: Visit) -> Response:
    return page(desk, visit, "link.html", refusal="")


def sign_in_by_link(desk: "Desk", visit: Visit) -> Response:
    started = time.monotonic()
    if desk.wrong_links.are_too_many(started):
        return page(desk, visit, "link.html", status=429, refusal=_TOO_MANY)
    user = use_link(desk.ledger, visit.form.text("code").strip(), now=visit.now)
    if user is None:
        desk.wrong_links.add(started)
        time.sleep(max(0.0, REFUSAL_SECONDS - (time.monotonic() - started)))
        return page(desk, visit, "link.html", status=401, refusal=_REFUSAL)
    return let_in(desk, visit, user, "/", how="by a one-time link")
