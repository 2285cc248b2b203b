"""Log-probabilities of continuations on a one-layer model: shared contexts and padded batches do not change them."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import ContextLengthError
from fine_tune_assets_tests.training.tiny_training import base_model

pytestmark = pytest.mark.slow  # importing torch, transformers and PEFT takes seconds
CONTEXT = "The patient has had a cough for three weeks, and no fever."
PAIRS = [
    ("", " yes"),
    (CONTEXT, " He smokes."),
    ("Pain", " in the left knee"),
    (CONTEXT, " He smokes a pack a day and has done so for years."),
    ("Pain", " in"),
    (CONTEXT, " No."),
    ("A question without context?", " an answer"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer

    folder = base_model(tmp_path_factory.mktemp("continuations") / "base", norm=1.0)
    return load_model(folder).eval(), load_tokenizer(folder)


def _one_by_one(model: Any, tokenizer: Any) -> list[float]:
    """The reference implementation: one pair per forward pass."""
    from fine_tune_assets.engines.transformers_models import token_log_probabilities

    sums = []
    for context, continuation in PAIRS:
        tokens, values = token_log_probabilities(model, tokenizer, context + continuation)
        start = max(1, len(tokenizer(context, add_special_tokens=False)["input_ids"]))
        sums.append(sum(float(values[position - 1][tokens[position]]) for position in range(start, len(tokens))))
    return sums


@pytest.mark.parametrize("batch_size", [1, 2, 4, 16])
def test_batches_and_shared_contexts_match_one_pair_at_a_time(model: tuple[Any, Any], batch_size: int) -> None:
    """Otherwise the batch size would influence the measured loss of abilities."""
    from fine_tune_assets.engines.likelihoods import continuation_log_probabilities

    found = continuation_log_probabilities(*model, PAIRS, batch_size)
    assert found == pytest.approx(_one_by_one(*model), abs=1e-3)
    assert len({round(value, 2) for value in found}) == len(PAIRS)


def test_results_do_not_depend_on_the_order_of_pairs(model: tuple[Any, Any]) -> None:
    """Each value belongs to its pair."""
    from fine_tune_assets.engines.likelihoods import continuation_log_probabilities

    forward, backward = (continuation_log_probabilities(*model, pairs, 3) for pairs in (PAIRS, PAIRS[::-1]))
    assert forward == pytest.approx(backward[::-1], abs=1e-3)


def test_texts_longer_than_the_context_are_refused_without_quoting_them(model: tuple[Any, Any]) -> None:
    """Truncation would change the question, and the model is not trained on later positions."""
    from fine_tune_assets.engines.likelihoods import continuation_log_probabilities
    from fine_tune_assets.engines.transformers_models import context_tokens, generate

    limit = context_tokens(model[0])
    assert limit == 2048
    for call in (
        lambda: continuation_log_probabilities(*model, [*PAIRS, ("Zebrafinch" * 300, " yes")], 4),
        lambda: generate(*model, ["Zebrafinch" * 204], 20, 4),
    ):
        with pytest.raises(ContextLengthError, match=r"1 of .*2048") as caught:
            call()
        assert "Zebrafinch" not in str(caught.value)
    assert len(generate(*model, ["Z" * (limit - 2)], 2, 4)) == 1
