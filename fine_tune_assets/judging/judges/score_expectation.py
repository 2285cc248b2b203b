"""The expectation of a score over the probabilities of the token that holds its digit.

A small model writes the same digit for most answers. The probabilities of the other digits still tell these answers apart
(G-Eval, Liu et al. 2023, https://arxiv.org/abs/2303.16634).
"""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from fine_tune_assets.engines.chat_client import ReplyToken

MIN_DIGIT_MASS: Final = 0.5
"""Minimum sum of the digits' probabilities. Below it, the model preferred something other than a digit."""


def expected_digit(tokens: Sequence[ReplyToken], text: str, start: int) -> float | None:
    """The mean of the digits that the model considered at `text[start]`, weighted by their probabilities.

    `tokens` cover the whole reply, which may contain reasoning before `text` and an end token after it. None if they do not
    contain `text`, if `text[start]` is not among the alternatives, or if the digits have a mass below MIN_DIGIT_MASS.
    """
    found = _find_token(tokens, text, start)
    return _mean_digit(*found, written=text[start]) if found else None


def _find_token(tokens: Sequence[ReplyToken], text: str, start: int) -> tuple[ReplyToken, str] | None:
    """The token that holds `text[start]`, and what precedes the character in this token."""
    parts = [_visible_ascii(token.text) for token in tokens]
    before = "".join(parts).rfind(_visible_ascii(text))  # the last one: reasoning may contain a draft of the reply
    if before < 0:
        return None
    left = before + len(_visible_ascii(text[:start]))
    for token, part in zip(tokens, parts, strict=True):
        if left < len(part):
            return token, part[:left]
        left -= len(part)
    return None


def _visible_ascii(text: str) -> str:
    """The characters that a text shares with its tokens: servers may drop blanks, and tokens may split multi-byte characters."""
    return "".join(text.encode("ascii", errors="ignore").decode().split())


def _mean_digit(token: ReplyToken, prefix: str, written: str) -> float | None:
    one_digit = re.compile(re.escape(prefix) + r"([0-9])(?![0-9.])")
    masses: dict[str, float] = defaultdict(float)
    for text, logprob in token.alternatives:
        if digit := one_digit.match(_visible_ascii(text)):
            masses[digit[1]] += math.exp(logprob)
    total = sum(masses.values())
    if written not in masses or not total >= MIN_DIGIT_MASS:
        return None
    return sum(int(digit) * mass for digit, mass in masses.items()) / total
