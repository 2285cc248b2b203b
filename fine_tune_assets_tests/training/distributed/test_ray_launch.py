"""Capacity of a Ray cluster, and retries after a lost rank."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.worker import ERROR, IS_USER_FACING, RESULT
from fine_tune_assets.training.distributed.ray_launch import count_available_ranks, has_lost_node, wait_for_capacity

NEED: dict[str, float] = {"gpus": 1, "cpus": 4, "wait_seconds": 0}


def _node(gpus: float, cpus: float, is_up: bool = True) -> dict[str, Any]:
    return {"Alive": is_up, "Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


def test_a_rank_needs_all_its_resources_on_one_live_node() -> None:
    """With half a GPU on each of two nodes, Ray would wait indefinitely."""
    assert count_available_ranks([_node(2, 8)], NEED) == 2
    assert count_available_ranks([_node(2, 7)], NEED) == 1
    assert count_available_ranks([_node(0, 64), _node(1, 2), _node(1, 2)], NEED) == 0
    assert count_available_ranks([_node(1, 4), _node(8, 64, is_up=False)], NEED) == 1
    assert count_available_ranks([_node(0, 9)], {**NEED, "gpus": 0}) == 2


def test_a_training_without_enough_capacity_is_refused() -> None:
    """The error says what is missing: an endless wait looks like a busy job."""
    with pytest.raises(FineTuneError, match=r"1 of 2 .* 1 GPUs .* 4 CPUs"):
        wait_for_capacity(lambda: [_node(1, 8)], 2, NEED)


def test_the_launch_waits_for_a_restarting_node() -> None:
    """A restart takes minutes."""
    answers = iter([[_node(1, 8)], [_node(1, 8), _node(1, 8)]])
    wait_for_capacity(lambda: next(answers), 2, {**NEED, "wait_seconds": 60})
    assert list(answers) == []  # it stopped asking once there was room


def test_only_a_training_that_lost_a_node_is_retried() -> None:
    """The trainer's own errors would occur again on every GPU at the same step."""
    connection_error = {ERROR: "RuntimeError at all_reduce line 1", "type": "RuntimeError", IS_USER_FACING: False}
    reported = {ERROR: "Lower training.learning_rate.", "type": "TrainingError", IS_USER_FACING: True}
    assert has_lost_node([connection_error, None])
    assert has_lost_node([None, None])
    assert not has_lost_node([reported, None])
    assert not has_lost_node([connection_error, connection_error])
    assert not has_lost_node([{RESULT: {}}, {RESULT: {}}])
