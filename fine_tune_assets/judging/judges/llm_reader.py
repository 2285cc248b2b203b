"""Reads statements with any chat model, by the probabilities of yes and no as the first token of its reply.

A record's questions are sent one after another, so that a server with a prefix cache reads the record once; records are read in
parallel. Every batch holds planted controls (planted_controls.py).
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any, Final

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.engines.chat_client import ChatClient, ChatPrompt, NoReplyError
from fine_tune_assets.judging.judges.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.judges.grades import MAX_SCORE, MIN_SCORE, Criterion, GradableAnswer
from fine_tune_assets.judging.judges.judge_models import JudgeModel
from fine_tune_assets.judging.judges.judge_prompts import UnreadableReplyError
from fine_tune_assets.judging.judges.judge_requests import Retries, completed_results, log_odds_of_tokens
from fine_tune_assets.judging.judges.planted_controls import control_failure, plant_controls
from fine_tune_assets.judging.judges.reader_prompts import (
    YES_NO,
    Inquiry,
    Question,
    criterion_inquiry,
    question_facts,
    question_messages,
    statement_inquiry,
)
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading
from fine_tune_assets.judging.judges.verifier.record_passages import rank_lines, split_lines
from fine_tune_assets.recipes.schema import RubricCriterion

PROMPT_TOKENS: Final = 512
"""Tokens of a prompt besides the record."""
CHARACTERS_PER_TOKEN: Final = 3
"""A low estimate, so that a record that passes it fits the context."""
MAX_LOG_ODDS: Final = 20.0
"""Servers report a token that cannot occur as, for example, -9999."""
NO_PROBABILITIES: Final = "the judge's server returns no probabilities of the first token"
NEITHER_YES_NOR_NO: Final = (
    "neither yes nor no is among the likely first tokens of the judge's reply; a model that reasons first needs "
    "judge.template_kwargs, such as enable_thinking: false"
)
Replied = tuple[float, ...] | str
"""Log-odds per group of questions, or why there are none."""


@dataclass
class LlmReader:
    """A StatementReader and CriterionReader. Not thread-safe; it sends requests from several threads itself."""

    model: JudgeModel
    cache: GradeCache
    concurrency: int
    retries: Retries
    context_tokens: int
    """Longer records are cut to the lines that share most with the statement."""
    is_repeat: bool = False
    """Whether this is the second measurement, which has its own cache entries."""

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        return {
            "model": self.model.identity,
            "questions": question_facts(),
            "context_tokens": self.context_tokens,
            "characters_per_token": CHARACTERS_PER_TOKEN,
        }

    def for_repeat(self) -> "LlmReader":
        return replace(self, is_repeat=True)

    def read(self, claims: Sequence[Claim], progress: Progress) -> list[Reading]:
        asked = [claim for claim in claims if claim.record.strip()]
        replies = iter(self._ask([self._inquiry(one) for one in asked], progress, "statements read"))
        return [
            _reading(next(replies), _find_evidence(claim)) if claim.record.strip() else Reading(0.0, 0.0, 1.0)
            for claim in claims
        ]

    def grade_criterion(
        self, criterion: RubricCriterion, answers: Sequence[GradableAnswer], progress: Progress
    ) -> list[Criterion | str]:
        replies = self._ask([self._about(criterion, answer) for answer in answers], progress, "answers read")
        return [found if isinstance(found, str) else _criterion(*found) for found in replies]

    def _inquiry(self, claim: Claim) -> Inquiry:
        return statement_inquiry(replace(claim, record=shorten_record(claim, self._limit(claim.statement))))

    def _about(self, criterion: RubricCriterion, answer: GradableAnswer) -> Inquiry:
        claim = Claim(answer.input, answer.output)
        record = shorten_record(claim, self._limit(answer.instruction, answer.output))
        return criterion_inquiry(criterion, replace(answer, input=record))

    def _limit(self, *others: str) -> int:
        """Characters of a record that fit the context next to the other texts."""
        return (self.context_tokens - PROMPT_TOKENS) * CHARACTERS_PER_TOKEN - sum(map(len, others))

    def _ask(self, inquiries: Sequence[Inquiry], progress: Progress, what: str) -> list[Replied]:
        """Answers from the cache or the model. If the model fails its controls, the whole batch has none."""
        keys = [self._key(inquiry) for inquiry in inquiries]
        found: dict[str, Replied] = {key: tuple(odds) for key, odds in self.cache.get(keys).items()}
        uncached = {key: one for key, one in zip(keys, inquiries, strict=True) if key not in found}
        if uncached:
            # In this thread, because a server ends with the thread that started it.
            client = self.model.client()
            if failure := self._check_controls(client, list(uncached.values())):
                return [failure] * len(inquiries)
            found |= self._ask_model(client, uncached, progress, what, is_cached=True)
        return [found[key] for key in keys]

    def _check_controls(self, client: ChatClient, inquiries: Sequence[Inquiry]) -> str:
        """Why this model's replies can't be used; empty if they can. The replies to controls are never cached."""
        records = [text for one in inquiries for name, text in one.shared.items() if name != "INSTRUCTION"]
        pairs = plant_controls(records)
        claims = {f"true {number}": pair.true for number, pair in enumerate(pairs)}
        claims |= {f"false {number}": pair.false for number, pair in enumerate(pairs)}
        asked = {key: self._inquiry(claim) for key, claim in claims.items()}
        replies = self._ask_model(client, asked, ignore_progress, "", is_cached=False)
        return control_failure(
            [
                (_reading(replies[f"true {number}"], ""), _reading(replies[f"false {number}"], ""))
                for number in range(len(pairs))
            ]
        )

    def _ask_model(
        self, client: ChatClient, inquiries: Mapping[str, Inquiry], progress: Progress, what: str, *, is_cached: bool
    ) -> dict[str, Replied]:
        by_prefix: dict[str, dict[str, Inquiry]] = {}
        for key, inquiry in inquiries.items():
            by_prefix.setdefault(fingerprint_json(dict(inquiry.shared)), {})[key] = inquiry
        found: dict[str, Replied] = {}
        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = {pool.submit(self._ask_group, client, group): prefix for prefix, group in by_prefix.items()}
            for _, replies in completed_results(futures, pool):
                found |= replies
                if is_cached:
                    self.cache.put({key: one for key, one in replies.items() if not isinstance(one, str)})
                progress(len(found), len(inquiries), what)
        return found

    def _ask_group(self, client: ChatClient, group: Mapping[str, Inquiry]) -> dict[str, Replied]:
        """The questions about one record, one after another. After an outage the rest of the record is not asked."""
        found: dict[str, Replied] = {}
        outage = ""
        for key, inquiry in group.items():
            try:
                found[key] = outage or self._answer(client, inquiry)
            except NoReplyError as error:
                found[key] = str(error)
                outage = str(error) if error.is_retryable else ""
            except UnreadableReplyError as error:
                found[key] = str(error)
        return found

    def _answer(self, client: ChatClient, inquiry: Inquiry) -> tuple[float, ...]:
        return tuple(
            fmean(self._log_odds(client, inquiry, question) for question in group) for group in inquiry.questions
        )

    def _log_odds(self, client: ChatClient, inquiry: Inquiry, question: Question) -> float:
        """Log-odds that the question is affirmed. Raises NoReplyError or UnreadableReplyError."""
        prompt = ChatPrompt(question_messages(inquiry, question), 1, 0.0, seed=0, has_first_token_logprobs=True)
        tokens = self.retries.request(client, lambda _: prompt, lambda reply: reply.first_token_logprobs)
        if not tokens:
            raise UnreadableReplyError(NO_PROBABILITIES)
        odds = log_odds_of_tokens(tokens, YES_NO)
        if odds is None or not math.isfinite(odds):
            raise UnreadableReplyError(NEITHER_YES_NOR_NO)
        odds = max(-MAX_LOG_ODDS, min(odds, MAX_LOG_ODDS))
        return odds if question.is_affirmed_by_yes else -odds

    def _key(self, inquiry: Inquiry) -> str:
        texts = [dict(inquiry.shared), dict(inquiry.own)]
        questions = [[one.text for one in group] for group in inquiry.questions]
        return content_key(reader=self._version, texts=texts, questions=questions, time=2 if self.is_repeat else 1)

    @cached_property
    def _version(self) -> str:
        return fingerprint_json(dict(self.identity))


def shorten_record(claim: Claim, limit: int) -> str:
    """The record, or those of its lines that matter most for the statement, in their order, with at most `limit` characters."""
    if len(claim.record) <= limit:
        return claim.record
    size = max(1, limit)
    lines = [line[at : at + size] for line in split_lines(claim.record) for at in range(0, len(line), size)]
    chosen, left = set[int](), size + 1
    for row, _ in rank_lines(claim.statement, lines):
        if len(lines[row]) < left:
            chosen.add(row)
            left -= len(lines[row]) + 1
    return "\n".join(lines[row] for row in sorted(chosen))


def _find_evidence(claim: Claim) -> str:
    """The line that shares most with the statement; empty if none shares a word."""
    lines = split_lines(claim.record)
    ranked = rank_lines(claim.statement, lines)
    return lines[ranked[0][0]] if ranked and ranked[0][1] > 0 else ""


def _reading(reply: Replied, evidence: str) -> Reading:
    """The three probabilities, given that exactly one of the three holds: proportional to the three odds."""
    if isinstance(reply, str):
        return Reading(math.nan, math.nan, math.nan, failure=reply)
    highest = max(reply)
    shares = [math.exp(odds - highest) for odds in reply]
    supported, contradicted, not_mentioned = (share / sum(shares) for share in shares)
    return Reading(supported, contradicted, not_mentioned, evidence)


def _criterion(log_odds: float) -> Criterion:
    probability = 1 / (1 + math.exp(-log_odds))
    score = round(MIN_SCORE + (MAX_SCORE - MIN_SCORE) * probability, 2)
    return Criterion(score, f"probability {probability:.2f} that the answer is as the rubric wants it")
