"""Which requests may be in progress: another key always finds a place, whatever the others send."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.gateway.answers.open_requests import NoPlaceError, OpenRequests
from fine_tune_assets.gateway.callers.authentication import Caller

PLACES, LIMIT = 512, 256


def caller(key: str, person: str | None = None) -> Caller:
    return Caller(f"key:{key}", person or key, frozenset({"chat"}), None, None, on_behalf_of=person)


def fill(places: OpenRequests, *callers: Caller, limit: int = LIMIT) -> list[int]:
    """Requests of each caller that were accepted, when they send one after the other until each is refused."""
    accepted = dict.fromkeys(range(len(callers)), 0)
    pending = set(accepted)
    while pending:
        for number in sorted(pending):
            try:
                places.open(callers[number], limit)
                accepted[number] += 1
            except NoPlaceError:
                pending.discard(number)
    return list(accepted.values())


def test_one_key_alone_gets_half() -> None:
    """The other half is for keys that come later."""
    assert fill(OpenRequests(PLACES), caller("a")) == [PLACES // 2]


def test_two_keys_with_all_their_requests_leave_a_third_for_others() -> None:
    """Together they took every place, and everybody else got 429."""
    places = OpenRequests(PLACES)
    first = fill(places, caller("a"), caller("b"))
    assert all(count == pytest.approx(PLACES / 3, abs=1) for count in first)
    assert fill(places, caller("c"))[0] >= PLACES // 6


def test_a_key_does_not_get_more_places_by_naming_more_persons() -> None:
    """520 names took every place, and a key's own limit was none."""
    places = OpenRequests(PLACES)
    persons = [caller("desk", f"person {number}") for number in range(520)]
    assert sum(fill(places, *persons)) <= PLACES // 2
    assert fill(places, caller("other"))[0] >= PLACES // 4
    assert sum(fill(OpenRequests(PLACES), *persons, limit=1)) == 1


def test_one_person_of_a_key_leaves_places_for_its_others() -> None:
    """All users of the desk share its key."""
    places = OpenRequests(PLACES)
    assert fill(places, caller("desk", "busy")) == [LIMIT // 2]
    assert fill(places, caller("desk", "other"))[0] >= LIMIT // 8


def test_a_place_is_free_after_the_answer() -> None:
    """A leaked place per request would close the gateway within a day."""
    places = OpenRequests(2)
    for _ in range(10):
        free = places.open(caller("a"), LIMIT)
        with pytest.raises(NoPlaceError):
            places.open(caller("a"), LIMIT)
        free()
    assert places._by_key == places._by_name == {}


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 4), st.booleans()), max_size=200))
def test_places_are_never_exceeded_or_lost(count: int, steps: list[tuple[int, int, bool]]) -> None:
    """In any order of requests and answers; a key without a request gets one while a place is free."""
    places, opened = OpenRequests(count), list[tuple[str, Callable[[], None]]]()
    for key, person, is_answered in steps:
        if is_answered and opened:
            opened.pop(0)[1]()
            continue
        asked = caller(f"{key}", None if person < 0 else f"{person}")
        is_new = asked.caller_id not in [name for name, _ in opened]
        try:
            opened.append((asked.caller_id, places.open(asked, 10)))
        except NoPlaceError:
            assert len(opened) == count or not is_new
        assert len(opened) <= count
    for _, free in opened:
        free()
    assert places._by_key == places._by_name == {}
