"""What a Ray cluster has room for, and what is tried again when a rank is gone."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.worker import ERROR, FOR_PEOPLE, RESULT
from fine_tune_assets.training.distributed.on_ray import places, wait_for_places, was_node_lost

NEED: dict[str, float] = {"gpus": 1, "cpus": 4, "wait_seconds": 0}


def _node(gpus: float, cpus: float, is_up: bool = True) -> dict[str, Any]:
    return {"Alive": is_up, "Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


def test_a_process_takes_its_place_on_one_node_that_is_up() -> None:
    """Half a GPU here and half there train nothing, and Ray would wait for ever."""
    assert places([_node(2, 8)], NEED) == 2
    assert places([_node(2, 7)], NEED) == 1
    assert places([_node(0, 64), _node(1, 2), _node(1, 2)], NEED) == 0
    assert places([_node(1, 4), _node(8, 64, is_up=False)], NEED) == 1
    assert places([_node(0, 9)], {**NEED, "gpus": 0}) == 2


def test_a_training_that_the_cluster_has_no_room_for_is_refused() -> None:
    """With what is missing: a job that waits for ever looks like one that is busy."""
    with pytest.raises(FineTuneError, match="room for 1 of 2 processes with 1 GPUs and 4 CPUs each"):
        wait_for_places(lambda: [_node(1, 8)], 2, NEED)


def test_a_node_that_comes_back_is_waited_for() -> None:
    """A machine that restarts takes minutes."""
    answers = iter([[_node(1, 8)], [_node(1, 8), _node(1, 8)]])
    wait_for_places(lambda: next(answers), 2, {**NEED, "wait_seconds": 60})
    assert list(answers) == []  # asked until there was room, and no longer


def test_only_a_training_that_lost_a_node_is_started_again() -> None:
    """What the trainer says itself it would say again, on every GPU and at the same step."""
    missed = {ERROR: "RuntimeError at all_reduce line 1", "type": "RuntimeError", FOR_PEOPLE: False}
    said = {ERROR: "Lower training.learning_rate.", "type": "TrainingError", FOR_PEOPLE: True}
    assert was_node_lost([missed, None])
    assert was_node_lost([None, None])
    assert not was_node_lost([said, None])
    assert not was_node_lost([missed, missed])
    assert not was_node_lost([{RESULT: {}}, {RESULT: {}}])
