"""Decides whether a key may have one more chat request in progress in this process: per key, then per person that it acts for.

A key may hold at most as many places as are free: one key alone half of them, two keys a third each. So there is always a place
for another key, however many requests and names the others send (dynamic thresholds, Choudhury and Hahne 1998). The persons of
one key share its limit by the same rule.
"""

from collections import Counter
from collections.abc import Callable

from fine_tune_assets.gateway.callers.authentication import Caller


class NoPlaceError(Exception):
    """The key, or the person, already has as many open requests as it may."""


class OpenRequests:
    """Used from one event loop."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._by_key: Counter[str] = Counter()
        self._by_name: Counter[str] = Counter()

    def open(self, caller: Caller, limit: int) -> Callable[[], None]:
        """Take a place and return what frees it. `limit` is the key's. Raises NoPlaceError."""
        key, name = caller.caller_id, caller.principal
        of_key = self._by_key[key]
        if of_key >= min(limit, self._places - self._by_key.total()):
            raise NoPlaceError
        if caller.on_behalf_of is not None and self._by_name[name] >= limit - of_key:
            raise NoPlaceError
        self._by_key[key] += 1
        self._by_name[name] += 1
        return lambda: self._close(key, name)

    def _close(self, key: str, name: str) -> None:
        self._by_key -= Counter([key])  # also drops a key without open requests
        self._by_name -= Counter([name])
