"""The processes of one training on this machine: they end together, and what one says is told."""

import pytest

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.worker import ERROR, FOR_PEOPLE, RESULT
from fine_tune_assets.training.distributed.launch import result_of
from fine_tune_assets.training.failures import UnfitSettingsError

SAID = {ERROR: "Lower training.learning_rate.", "type": "TrainingError", FOR_PEOPLE: True}
ITS_NEIGHBOUR = {ERROR: "RuntimeError at all_reduce line 1", "type": "RuntimeError", FOR_PEOPLE: False}


def test_the_first_ranks_result_is_the_trainings() -> None:
    """The ordinary case, without which the next tests would say nothing."""
    assert result_of([{RESULT: {"steps": 3}}, {RESULT: {}}], [0, 0]) == {"steps": 3}


def test_what_a_rank_says_goes_before_its_neighbours_complaint_that_it_is_gone() -> None:
    """The rank that failed ends first, and the others fail for want of it: their words help nobody."""
    with pytest.raises(FineTuneError, match=r"^Lower training\.learning_rate\.$"):
        result_of([ITS_NEIGHBOUR, SAID], [1, 1])
    with pytest.raises(FineTuneError, match="all_reduce line 1"):
        result_of([ITS_NEIGHBOUR, None], [1, None])


def test_a_rank_that_was_killed_ends_the_process_without_an_answer() -> None:
    """So does a trainer that was killed itself, and the step starts that one again; what is said is not tried again."""
    for answers in ([ITS_NEIGHBOUR, None], [None, None], [{RESULT: {}}, None]):
        with pytest.raises(SystemExit, match="killed: 1 by signal 9"):
            result_of(answers, [1, -9])


def test_settings_that_do_not_fit_stay_what_they_are() -> None:
    """A sweep counts them as a failed trial and goes on; any other error ends it."""
    unfit = {ERROR: "Out of memory.", "type": "UnfitSettingsError", FOR_PEOPLE: True}
    with pytest.raises(UnfitSettingsError, match=r"^Out of memory\.$"):
        result_of([ITS_NEIGHBOUR, unfit], [1, 1])
