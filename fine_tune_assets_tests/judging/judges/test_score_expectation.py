"""The expectation of a score: which token holds its digit, and which alternatives count."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.engines.chat_client import ReplyToken
from fine_tune_assets.judging.judges.score_expectation import expected_digit

REPLY = json.dumps(
    {
        "tone": {"evidence": "„Größe“ 5 😷", "reason": 'He wrote "score": 8.', "score": 7},
        "form": {"evidence": "", "reason": "咳嗽 3", "score": 7},
    },
    ensure_ascii=False,
)
STARTS = [REPLY.index("7},"), REPLY.index("7}}")]
PROBABILITIES = {"7": 0.6, "3": 0.3}
EXPECTATION = (7 * 0.6 + 3 * 0.3) / 0.9


def _token(text: str, alternatives: Mapping[str, float]) -> ReplyToken:
    return ReplyToken(text, tuple((other, math.log(mass)) for other, mass in alternatives.items()))


COMMA = _token(",", {",": 1.0})


def _split(reply: str, start: int, cuts: Sequence[int]) -> list[ReplyToken]:
    """Tokens of a reply that was cut at these bytes. Only the token with the digit at `start` has PROBABILITIES."""
    data, place = reply.encode(), len(reply[:start].encode())
    ends = [*sorted(cut % len(data) for cut in cuts), len(data)]
    tokens = []
    for begin, end in pairwise([0, *ends]):
        text = data[begin:end].decode(errors="replace")
        around = [part.decode(errors="replace") for part in (data[begin:place], data[place + 1 : end])]
        digits = {digit.join(around): mass for digit, mass in PROBABILITIES.items()}
        tokens.append(_token(text, digits if begin <= place < end else {text: 1.0}))
    return tokens


@given(
    cuts=st.lists(st.integers(min_value=0, max_value=10_000)),
    start=st.sampled_from(STARTS),
    before=st.text() | st.just(f"<think>{REPLY}</think>\n```json\n"),
    after=st.sampled_from(["", "<|im_end|>", "\n```"]),
)
def test_the_digit_is_found_however_the_reply_is_cut_into_tokens(
    cuts: list[int], start: int, before: str, after: str
) -> None:
    """Tokenizers differ: a piece may be part of a character, a digit with its colon, or everything. Reasoning may precede."""
    tokens = _split(f"{before}{REPLY}{after}", len(before) + start, cuts)
    assert expected_digit(tokens, REPLY, start) == pytest.approx(EXPECTATION, abs=1e-9)


@given(cuts=st.lists(st.integers(min_value=0, max_value=10_000)), start=st.sampled_from(STARTS))
def test_the_digit_is_found_in_tokens_without_blanks(cuts: list[int], start: int) -> None:
    """vLLM decodes each token separately, and SentencePiece then drops leading blanks."""
    tokens = [ReplyToken(token.text.lstrip(), token.alternatives) for token in _split(REPLY, start, cuts)]
    assert expected_digit(tokens, REPLY, start) == pytest.approx(EXPECTATION, abs=1e-9)


@pytest.mark.parametrize(
    ("written", "alternatives", "expectation"),
    [
        ("7", {"7": 0.5, "5": 0.5}, 6.0),
        (" 7", {" 7": 0.3, "7": 0.2, " 5": 0.5}, 6.0),
        ('": 7', {'": 7': 0.5, '": 5': 0.3, '":5': 0.2}, 6.0),
        ("7}", {"7}": 0.3, "7": 0.2, "5,": 0.5}, 6.0),
        ("7", {"7": 0.5, "5": 0.2, '"': 0.3}, (7 * 0.5 + 5 * 0.2) / 0.7),
        ("7", {"7": 0.6, "75": 0.2, "7.5": 0.1, "-7": 0.05, "seven": 0.05}, 7.0),
        ('": 7', {'": 7': 0.6, "5": 0.3}, 7.0),
    ],
)
def test_alternatives_count_that_are_one_digit_after_the_same_prefix(
    written: str, alternatives: dict[str, float], expectation: float
) -> None:
    """`75` is not a grade, and `5` without the colon continues another reply."""
    text = f"{written},"
    found = expected_digit([_token(written, alternatives), COMMA], text, text.index("7"))
    assert found == pytest.approx(expectation, abs=1e-9)


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [_token("7", {}), COMMA],
        [_token("7", {"7": 0.4, '"': 0.6}), COMMA],
        [_token("7", {"5": 0.9, "6": 0.1}), COMMA],
        [_token("token_id:22", {"token_id:22": 1.0}), COMMA],
        [_token("7", {"7": 1.0}), _token("}", {"}": 1.0})],
        [_token("7", {"7": math.nan}), COMMA],
    ],
    ids=["no-tokens", "no-alternatives", "mass-below-half", "not-the-written-digit", "ids", "another-reply", "nan"],
)
def test_without_usable_probabilities_there_is_no_expectation(tokens: list[ReplyToken]) -> None:
    """The written digit is then the grade."""
    assert expected_digit(tokens, "7,", 0) is None


@given(st.dictionaries(st.sampled_from("0123456789"), st.floats(min_value=0.001, max_value=1), min_size=1), st.data())
def test_an_expectation_lies_between_the_digits(masses: dict[str, float], data: st.DataObject) -> None:
    written = data.draw(st.sampled_from(sorted(masses)))
    found = expected_digit([_token(written, masses)], written, 0)
    if found is None:
        assert sum(masses.values()) < 0.5 + 1e-9
    else:
        assert int(min(masses)) - 1e-9 <= found <= int(max(masses)) + 1e-9
