"""Log-probabilities of continuations, on a model of one layer: shared contexts and padded batches change no figure."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import TooLongForModelError
from fine_tune_assets_tests.training.tiny import base_model

pytestmark = pytest.mark.slow  # torch, transformers and PEFT take some seconds to import
CONTEXT = "The patient has had a cough for three weeks, and no fever."
PAIRS = [
    ("", " yes"),
    (CONTEXT, " He smokes."),
    ("Pain", " in the left knee"),
    (CONTEXT, " He smokes a pack a day and has done so for years."),
    ("Pain", " in"),
    (CONTEXT, " No."),
    ("A question that stands alone?", " an answer"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer

    folder = base_model(tmp_path_factory.mktemp("continuations") / "base", norm=1.0)
    return load_model(folder).eval(), load_tokenizer(folder)


def _one_by_one(model: Any, tokenizer: Any) -> list[float]:
    """As plainly as it can be said."""
    from fine_tune_assets.engines.transformers_models import token_log_probabilities

    sums = []
    for context, continuation in PAIRS:
        tokens, values = token_log_probabilities(model, tokenizer, context + continuation)
        start = max(1, len(tokenizer(context, add_special_tokens=False)["input_ids"]))
        sums.append(sum(float(values[place - 1][tokens[place]]) for place in range(start, len(tokens))))
    return sums


@pytest.mark.parametrize("batch_size", [1, 2, 4, 16])
def test_batches_and_shared_contexts_give_what_one_by_one_gives(model: tuple[Any, Any], batch_size: int) -> None:
    """Else how many questions are asked at once would decide what was forgotten."""
    from fine_tune_assets.engines.continuations import continuation_log_probabilities

    found = continuation_log_probabilities(*model, PAIRS, batch_size)
    assert found == pytest.approx(_one_by_one(*model), abs=1e-3)
    assert len({round(value, 2) for value in found}) == len(PAIRS)


def test_their_order_changes_nothing(model: tuple[Any, Any]) -> None:
    """Each figure belongs to its own pair."""
    from fine_tune_assets.engines.continuations import continuation_log_probabilities

    there, back = (continuation_log_probabilities(*model, pairs, 3) for pairs in (PAIRS, PAIRS[::-1]))
    assert there == pytest.approx(back[::-1], abs=1e-3)


def test_what_is_longer_than_the_context_is_refused_without_its_text(model: tuple[Any, Any]) -> None:
    """Cut, it would be another question; passed, the model would read places it has never learned."""
    from fine_tune_assets.engines.continuations import continuation_log_probabilities
    from fine_tune_assets.engines.transformers_models import context_tokens, generate

    limit = context_tokens(model[0])
    assert limit == 2048
    for ask in (
        lambda: continuation_log_probabilities(*model, [*PAIRS, ("Zebrafinch" * 300, " yes")], 4),
        lambda: generate(*model, ["Zebrafinch" * 204], 20, 4),
    ):
        with pytest.raises(TooLongForModelError, match=r"1 of . texts.* where 2048 fit") as caught:
            ask()
        assert "Zebrafinch" not in str(caught.value)
    assert len(generate(*model, ["Z" * (limit - 2)], 2, 4)) == 1
