"""The language-model judge: grades by a rubric, and compares two answers in both orders.

A grade is an expectation over the probabilities of its digits, because a small model writes the same digit for most answers. The
judge sends requests in parallel, retries failed and unreadable replies, and caches results. An answer that still has no grade is
missing, never 0.

Small models prefer the first answer regardless of content (SmolLM2-135M: 100 % of pairs, none consistent when swapped).
Comparisons therefore average the log-odds of both orders, which cancels a position bias, and `is_position_consistent` tells
whether both orders prefer the same answer.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.conversations import Message
from fine_tune_assets.core.prompts.reasoning import strip_reasoning
from fine_tune_assets.engines.chat_client import ChatClient, ChatPrompt, ChatReply, NoReplyError
from fine_tune_assets.judging.judges.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.judges.grades import AnswerPair, Criterion, GradableAnswer, Grade, JudgeKind, Preference
from fine_tune_assets.judging.judges.judge_models import JudgeModel
from fine_tune_assets.judging.judges.judge_prompts import (
    CHOICE_SCHEMA,
    LETTERS,
    MAX_CRITERION_TOKENS,
    UnreadableReplyError,
    comparison_messages,
    grade_schema,
    grading_messages,
    read_choice,
    read_grade,
    rubric_facts,
)
from fine_tune_assets.judging.judges.judge_requests import Retries, completed_results, log_odds_of_tokens
from fine_tune_assets.judging.judges.rubrics import Rubric

SAMPLES = 5
"""Letters sampled per order if a server returns no log-probabilities. More give finer odds and cost one reply each."""
MAX_CHOICE_TOKENS = 12
SAMPLING = {
    "first_temperature": 0.0,
    "again_temperature": 0.7,
    "samples": SAMPLES,
    "samples_temperature": 1.0,
    "choice_tokens": MAX_CHOICE_TOKENS,
}
"""Retries use a temperature above 0, because at 0 the model would repeat the same unreadable reply."""
Item = TypeVar("Item", GradableAnswer, AnswerPair)
Result = TypeVar("Result", Grade, Preference)


@dataclass
class LlmJudge:
    """Not thread-safe; it sends requests from several threads itself."""

    model: JudgeModel
    cache: GradeCache
    rubric: Rubric
    concurrency: int
    retries: Retries
    is_repeat: bool = False
    """Whether this is the second measurement, which has its own cache entries."""
    kind: JudgeKind = field(default="rubric", init=False)

    @cached_property
    def version(self) -> str:
        return fingerprint_json(
            {"model": self.model.identity, "rubric": rubric_facts(self.rubric), "sampling": SAMPLING}
        )

    def for_repeat(self) -> "LlmJudge":
        return replace(self, is_repeat=True)

    def grade(self, answers: Sequence[GradableAnswer], progress: Progress) -> list[Grade]:
        return self._judge_items(answers, self._grade, _cached_grade, progress, "grades")

    def compare(self, pairs: Sequence[AnswerPair], progress: Progress) -> list[Preference]:
        return self._judge_items(pairs, self._compare, lambda cached: Preference(**cached), progress, "comparisons")

    def _judge_items(
        self,
        items: Sequence[Item],
        ask: Callable[[ChatClient, Item], Result],
        read: Callable[[dict[str, Any]], Result],
        progress: Progress,
        what: str,
    ) -> list[Result]:
        """Judge items, using the cache. Missing results are not cached, so the next run retries them."""
        keys = [self._key(item) for item in items]
        found = {key: read(value) for key, value in self.cache.get(keys).items()}
        uncached = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        if uncached:
            # In this thread, because a server ends with the thread that started it.
            client = self.model.client()
            with ThreadPoolExecutor(self.concurrency) as pool:
                futures = {pool.submit(ask, client, item): key for key, item in uncached.items()}
                for key, result in completed_results(futures, pool):
                    found[key] = result
                    if has_result(result):
                        self.cache.put({key: asdict(result)})
                    progress(len(found), len(set(keys)), what)
        return [found[key] for key in keys]

    def _key(self, item: GradableAnswer | AnswerPair) -> str:
        content = {name: value for name, value in asdict(item).items() if name not in ("id", "task")}
        return content_key(judge=self.version, asked=content, time=2 if self.is_repeat else 1)

    def _grade(self, client: ChatClient, answered: GradableAnswer) -> Grade:
        messages, schema = grading_messages(answered, self.rubric), grade_schema(self.rubric)
        max_tokens = MAX_CRITERION_TOKENS * len(self.rubric)

        def prompt(attempt: int) -> ChatPrompt:
            temperature = SAMPLING["again_temperature" if attempt else "first_temperature"]
            return ChatPrompt(messages, max_tokens, temperature, attempt, schema, has_token_logprobs=True)

        def read(reply: ChatReply) -> Grade:
            return read_grade(_complete_text(reply), reply.tokens, answered, self.rubric)

        try:
            return self.retries.request(client, prompt, read)
        except (NoReplyError, UnreadableReplyError) as error:
            return Grade(None, str(error))

    def _compare(self, client: ChatClient, pair: AnswerPair) -> Preference:
        try:
            return combine_positions(*(self._log_odds(client, pair, is_swapped) for is_swapped in (False, True)))
        except (NoReplyError, UnreadableReplyError) as error:
            return Preference(None, None, str(error))

    def _log_odds(self, client: ChatClient, pair: AnswerPair, is_swapped: bool) -> float | None:
        """Log-odds of A against B, from the probabilities of the first token or, if the server returns none, from samples."""
        messages = comparison_messages(pair, is_swapped, self.rubric)
        first = ChatPrompt(messages, 1, 0.0, seed=0, has_first_token_logprobs=True)
        tokens = self.retries.request(client, lambda _: first, lambda reply: reply.first_token_logprobs)
        if tokens:
            return log_odds_of_tokens(tokens, LETTERS)
        return log_odds_of_samples([self._sample_letter(client, messages, number) for number in range(SAMPLES)])

    def _sample_letter(self, client: ChatClient, messages: list[Message], number: int) -> str:
        def prompt(attempt: int) -> ChatPrompt:
            seed = number + attempt * SAMPLES
            return ChatPrompt(messages, MAX_CHOICE_TOKENS, SAMPLING["samples_temperature"], seed, schema=CHOICE_SCHEMA)

        return str(self.retries.request(client, prompt, lambda reply: read_choice(_complete_text(reply))))


def _complete_text(reply: ChatReply) -> str:
    if not reply.is_finished:
        raise UnreadableReplyError("the reply was cut off")
    return strip_reasoning(reply.text)


def has_result(result: Grade | Preference) -> bool:
    return (result.score if isinstance(result, Grade) else result.probability) is not None


def _cached_grade(cached: dict[str, Any]) -> Grade:
    criteria = {name: Criterion(**values) for name, values in cached["criteria"].items()}
    return Grade(cached["score"], cached["reason"], criteria)


def log_odds_of_samples(letters: Sequence[str]) -> float:
    """Log-odds of A against B, from sampled letters. Half a count is added to each side to keep the odds finite."""
    count = sum(letter == LETTERS[0] for letter in letters)
    return math.log((count + 0.5) / (len(letters) - count + 0.5))


def combine_positions(original: float | None, swapped: float | None) -> Preference:
    """Combine the log-odds of A against B in both orders. A is the first answer in the original order, the second if swapped."""
    if original is None or swapped is None or not (math.isfinite(original) and math.isfinite(swapped)):
        return Preference(None, None, "no preference in one of the two orders")
    for_first = (original, -swapped)
    mean = sum(for_first) / 2
    is_position_consistent = for_first[0] * for_first[1] > 0
    reason = f"log-odds for the first answer: {for_first[0]:.2f} as given, {for_first[1]:.2f} swapped"
    return Preference(1 / (1 + math.exp(-mean)), is_position_consistent, reason)
