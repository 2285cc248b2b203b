"""Which test examples are asked: equally many of each task, the same for one incumbent, half of them new for the next."""

from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.judging.evaluation.example_selection import AskedExamples, RequiredTasks, select_test_examples

MESSAGES = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def _set(**tasks: int) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "example_id": f"{task}{i}",
                "subject_key": f"{task}{i}",
                "task": task,
                "split": "test",
                "messages": MESSAGES,
            }
            for task, count in tasks.items()
            for i in range(count)
        ]
        + [{"example_id": "trained", "subject_key": "s", "task": "a", "split": "train", "messages": MESSAGES}]
    )


def test_the_tasks_that_must_be_tested_get_their_minimum_first() -> None:
    """Corrections, or a task that the recipe accepts untested, must not take the examples that a task needs."""
    first = RequiredTasks(("a", "b"), 20)
    rows = select_test_examples(_set(a=40, b=40, correction=40), 45, tested=first)
    assert Counter(row.task for row in rows) == {"a": 21, "b": 22, "correction": 2}


def _asked(limit: int, earlier: AskedExamples | None = None, **tasks: int) -> set[str]:
    return {row.example_id for row in select_test_examples(_set(**tasks), limit, earlier)}


def test_a_frequent_task_leaves_room_for_a_rare_one() -> None:
    rows = select_test_examples(_set(frequent=500, rare=30, single=1), 60)
    assert Counter(row.task for row in rows) == {"frequent": 30, "rare": 29, "single": 1}


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 40), min_size=1), st.integers(1, 100))
@settings(max_examples=50, deadline=None)
def test_as_many_are_asked_as_there_are_up_to_the_limit(tasks: dict[str, int], limit: int) -> None:
    assert len(select_test_examples(_set(**tasks), limit)) == min(limit, sum(tasks.values()))


def test_candidates_against_one_incumbent_get_the_same_examples() -> None:
    """Also after the test split grew."""
    first = _asked(20, a=40)
    assert _asked(20, AskedExamples(of_incumbent=first, uses=dict.fromkeys(first, 1)), a=60) == first


def test_half_of_the_examples_are_replaced_for_a_new_incumbent() -> None:
    first = _asked(20, a=100)
    uses = dict.fromkeys(first, 3)
    second = _asked(20, AskedExamples(before_incumbent=first, uses=uses), a=100)
    assert len(second) == 20
    assert len(second & first) == 10


def test_without_more_examples_all_are_asked_again() -> None:
    first = _asked(20, a=20)
    assert _asked(20, AskedExamples(before_incumbent=first), a=20) == first
    assert len(_asked(20, AskedExamples(before_incumbent=first), a=25) & first) == 15


def test_each_example_is_used_before_one_is_used_again() -> None:
    """Over many incumbents, the whole test split decides."""
    uses, before, seen = Counter[str](), set[str](), set[str]()
    for _ in range(9):
        asked = _asked(20, AskedExamples(before_incumbent=before, uses=uses), a=100)
        uses.update(asked)
        before, seen = asked, seen | asked
    assert len(seen) == 100
