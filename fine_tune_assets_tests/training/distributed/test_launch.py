"""Ranks on one machine end together, and the failed rank's error is reported."""

import pytest

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.processes.worker import ERROR, IS_USER_FACING, RESULT
from fine_tune_assets.training.distributed.launch import combine_answers

REPORTED = {ERROR: "Lower training.learning_rate.", "type": "TrainingError", IS_USER_FACING: True}
CONNECTION_ERROR = {ERROR: "RuntimeError at all_reduce line 1", "type": "RuntimeError", IS_USER_FACING: False}


def test_the_first_ranks_result_is_the_trainings() -> None:
    """Control for the tests below."""
    assert combine_answers([{RESULT: {"steps": 3}}, {RESULT: {}}], [0, 0]) == {"steps": 3}


def test_the_failed_ranks_error_takes_precedence_over_connection_errors() -> None:
    """The other ranks fail because of the first; their errors do not help."""
    with pytest.raises(FineTuneError, match=r"^Lower training\.learning_rate\.$"):
        combine_answers([CONNECTION_ERROR, REPORTED], [1, 1])
    with pytest.raises(FineTuneError, match="all_reduce line 1"):
        combine_answers([CONNECTION_ERROR, None], [1, None])


def test_a_rank_that_was_killed_ends_the_process_without_an_answer() -> None:
    """As if the trainer itself was killed, so that Dagster retries it; reported errors are not retried."""
    for answers in ([CONNECTION_ERROR, None], [None, None], [{RESULT: {}}, None]):
        with pytest.raises(SystemExit, match="1 by signal 9"):
            combine_answers(answers, [1, -9])
