"""The language-model judge that grades by a rubric.

A grade is an expectation over the probabilities of its digits, because a small model writes the same digit for most answers. The
judge sends requests in parallel, retries failed and unreadable replies, and caches results. An answer that still has no grade is
missing, never 0.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.reasoning import strip_reasoning
from fine_tune_assets.engines.chat_client import ChatClient, ChatPrompt, ChatReply, NoReplyError
from fine_tune_assets.judging.judges.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.judges.grades import Criterion, GradableAnswer, Grade, JudgeKind
from fine_tune_assets.judging.judges.judge_models import JudgeModel
from fine_tune_assets.judging.judges.judge_prompts import (
    MAX_CRITERION_TOKENS,
    UnreadableReplyError,
    grade_schema,
    grading_messages,
    read_grade,
    rubric_facts,
)
from fine_tune_assets.judging.judges.judge_requests import Retries, completed_results
from fine_tune_assets.judging.judges.rubrics import Rubric

SAMPLING = {"first_temperature": 0.0, "again_temperature": 0.7}
"""Retries use a temperature above 0, because at 0 the model would repeat the same unreadable reply."""


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
        """Missing grades are not cached, so the next run asks again."""
        keys = [self._key(answer) for answer in answers]
        found = {key: _cached_grade(value) for key, value in self.cache.get(keys).items()}
        uncached = {key: answer for key, answer in zip(keys, answers, strict=True) if key not in found}
        if uncached:
            # In this thread, because a server ends with the thread that started it.
            client = self.model.client()
            with ThreadPoolExecutor(self.concurrency) as pool:
                futures = {pool.submit(self._grade, client, answer): key for key, answer in uncached.items()}
                for key, grade in completed_results(futures, pool):
                    found[key] = grade
                    if grade.score is not None:
                        self.cache.put({key: asdict(grade)})
                    progress(len(found), len(set(keys)), "grades")
        return [found[key] for key in keys]

    def _key(self, answer: GradableAnswer) -> str:
        content = {name: value for name, value in asdict(answer).items() if name not in ("id", "task")}
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


def _complete_text(reply: ChatReply) -> str:
    if not reply.is_finished:
        raise UnreadableReplyError("the reply was cut off")
    return strip_reasoning(reply.text)


def _cached_grade(cached: dict[str, Any]) -> Grade:
    criteria = {name: Criterion(**values) for name, values in cached["criteria"].items()}
    return Grade(cached["score"], cached["reason"], criteria)
