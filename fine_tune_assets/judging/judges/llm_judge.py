"""A language model as judge: grades by a rubric, and prefers one of two answers after both orders.

Owns asking many questions at once, asking again what failed or can't be read, and keeping what came. What still has no grade
then is missing, never 0. Does not know where the model runs.

A small model takes the first answer whatever it says (SmolLM2-135M: 100 % of pairs, none consistent when swapped), so a single
letter is worth nothing. The log-odds of both orders are averaged: a mere liking for a place cancels out, and `is_consistent` says
whether both orders prefer the same answer.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.chat import Message
from fine_tune_assets.engines.chat_client import ChatClient, ChatReply, NoReplyError, Question
from fine_tune_assets.judging.judges.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.judges.grades import Answered, Criterion, Grade, JudgeKind, Pair, Preference
from fine_tune_assets.judging.judges.judge_models import JudgeModel
from fine_tune_assets.judging.judges.judge_prompts import (
    CHOICE_SCHEMA,
    GRADE_SCHEMA,
    GRADE_TOKENS,
    LETTERS,
    UnreadableReplyError,
    comparing_messages,
    grading_messages,
    read_choice,
    read_grade,
    rubric_facts,
)

SAMPLES = 5
"""Letters drawn in each order where a server tells no probabilities. More tell finer odds, and cost a reply each."""
CHOICE_TOKENS = 12
SAMPLING = {
    "first_temperature": 0.0,
    "again_temperature": 0.7,
    "samples": SAMPLES,
    "samples_temperature": 1.0,
    "choice_tokens": CHOICE_TOKENS,
}
"""Asked again at 0, a model would give the same unreadable reply again."""
LONGEST_PAUSE_SECONDS = 20.0
Asked = TypeVar("Asked", Answered, Pair)
Came = TypeVar("Came", Grade, Preference)


@dataclass
class LlmJudge:
    """Use it in one thread; it asks from several."""

    model: JudgeModel
    cache: GradeCache
    concurrency: int
    retries: int
    pause_seconds: float
    """Before a question is asked again that got no reply; doubled each time."""
    is_second: bool = False
    """Whether it judges for the second time: what it said then is kept beside what it said first."""
    kind: JudgeKind = field(init=False)

    def __post_init__(self) -> None:
        self.kind = self.model.kind

    @cached_property
    def version(self) -> str:
        return fingerprint_json({"model": self.model.described, "rubric": rubric_facts(), "sampling": SAMPLING})

    def afresh(self) -> "LlmJudge":
        return replace(self, is_second=True)

    def grade(self, answers: Sequence[Answered], progress: Progress) -> list[Grade]:
        return self._kept_or_asked(answers, self._grade, _grade_of, progress, "grades")

    def compare(self, pairs: Sequence[Pair], progress: Progress) -> list[Preference]:
        return self._kept_or_asked(pairs, self._compare, lambda kept: Preference(**kept), progress, "comparisons")

    def _kept_or_asked(
        self,
        items: Sequence[Asked],
        ask: Callable[[ChatClient, Asked], Came],
        read: Callable[[dict[str, Any]], Came],
        progress: Progress,
        what: str,
    ) -> list[Came]:
        """What is missing is not kept: the next run asks again."""
        keys = [self._key(item) for item in items]
        found = {key: read(value) for key, value in self.cache.get(keys).items()}
        waiting = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        if waiting:
            # Here, in the thread that outlives the questions: a server ends with the thread that started it.
            client = self.model.client()
            with ThreadPoolExecutor(self.concurrency) as pool:
                asked = {pool.submit(ask, client, item): key for key, item in waiting.items()}
                for key, came in _as_they_come(asked, pool):
                    found[key] = came
                    if is_there(came):
                        self.cache.put({key: asdict(came)})
                    progress(len(found), len(set(keys)), what)
        return [found[key] for key in keys]

    def _key(self, item: Answered | Pair) -> str:
        asked = {name: value for name, value in asdict(item).items() if name not in ("id", "task")}
        return content_key(judge=self.version, asked=asked, time=2 if self.is_second else 1)

    def _grade(self, client: ChatClient, answered: Answered) -> Grade:
        messages = grading_messages(answered)

        def asked(attempt: int) -> Question:
            temperature = SAMPLING["again_temperature" if attempt else "first_temperature"]
            return Question(messages, GRADE_TOKENS, temperature, seed=attempt, schema=GRADE_SCHEMA)

        try:
            return self._read(client, asked, lambda reply: read_grade(_whole(reply), answered))
        except (NoReplyError, UnreadableReplyError) as error:
            return Grade(None, str(error))

    def _compare(self, client: ChatClient, pair: Pair) -> Preference:
        try:
            return preference(*(self._log_odds(client, pair, is_swapped) for is_swapped in (False, True)))
        except (NoReplyError, UnreadableReplyError) as error:
            return Preference(None, None, str(error))

    def _log_odds(self, client: ChatClient, pair: Pair, is_swapped: bool) -> float | None:
        """Of A against B. From the probabilities of the first token, or where a server tells none, from letters drawn."""
        messages = comparing_messages(pair, is_swapped)
        first = Question(messages, 1, 0.0, seed=0, wants_first_token=True)
        tokens = self._read(client, lambda _: first, lambda reply: reply.first_token)
        if tokens:
            return log_odds_of_tokens(tokens)
        return log_odds_of_samples([self._drawn(client, messages, number) for number in range(SAMPLES)])

    def _drawn(self, client: ChatClient, messages: list[Message], number: int) -> str:
        def asked(attempt: int) -> Question:
            seed = number + attempt * SAMPLES
            return Question(messages, CHOICE_TOKENS, SAMPLING["samples_temperature"], seed, schema=CHOICE_SCHEMA)

        return str(self._read(client, asked, lambda reply: read_choice(_whole(reply))))

    def _read(self, client: ChatClient, asked: Callable[[int], Question], read: Callable[[ChatReply], Any]) -> Any:
        """What a reply says, of the first of `retries` + 1 that says it. Raises the last error."""
        for attempt in range(self.retries + 1):
            try:
                return read(client.ask(asked(attempt)))
            except UnreadableReplyError:
                if attempt == self.retries:
                    raise
            except NoReplyError as error:
                if attempt == self.retries or not error.is_worth_another_try:
                    raise
                time.sleep(min(LONGEST_PAUSE_SECONDS, self.pause_seconds * 2**attempt))
        raise AssertionError  # the last attempt returns or raises


def _whole(reply: ChatReply) -> str:
    if not reply.is_finished:
        raise UnreadableReplyError("the reply was cut off")
    return reply.text


def _as_they_come(asked: dict[Future[Any], str], pool: ThreadPoolExecutor) -> Any:
    try:
        for future in as_completed(asked):
            yield asked[future], future.result()
    except BaseException:
        # What can't be asked now need not be asked a thousand times.
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def is_there(came: Grade | Preference) -> bool:
    return (came.score if isinstance(came, Grade) else came.probability) is not None


def _grade_of(kept: dict[str, Any]) -> Grade:
    criteria = {name: Criterion(**values) for name, values in kept["criteria"].items()}
    return Grade(kept["score"], kept["reason"], criteria)


def log_odds_of_tokens(first_token: Mapping[str, float]) -> float | None:
    """Log-odds of A against B, from the log-probabilities of the likeliest first tokens; None if neither is among them.

    Of a letter that is not listed only a bound is known, the probability of the last one listed, and that is taken: it makes
    the odds smaller than they are, never larger.
    """
    masses = [_log_mass(first_token, letter) for letter in LETTERS]
    if masses == [None, None]:
        return None
    least = min(first_token.values())
    a, b = (least if mass is None else mass for mass in masses)
    return a - b


def _log_mass(first_token: Mapping[str, float], letter: str) -> float | None:
    found = [value for token, value in first_token.items() if token.strip().upper() == letter]
    if not found:
        return None
    most = max(found)
    return most + math.log(sum(math.exp(value - most) for value in found))


def log_odds_of_samples(letters: Sequence[str]) -> float:
    """Log-odds of A against B, from letters drawn: half a letter is added to each, so that no count says `certainly`."""
    count = sum(letter == LETTERS[0] for letter in letters)
    return math.log((count + 0.5) / (len(letters) - count + 0.5))


def preference(as_given: float | None, swapped: float | None) -> Preference:
    """From the log-odds of A against B in the two orders. A is the first answer as given, and the second one swapped."""
    if as_given is None or swapped is None or not (math.isfinite(as_given) and math.isfinite(swapped)):
        return Preference(None, None, "the judge named no answer in one of the two orders")
    for_first = (as_given, -swapped)
    mean = sum(for_first) / 2
    is_consistent = for_first[0] * for_first[1] > 0
    reason = f"log-odds for the first answer: {for_first[0]:.2f} as given, {for_first[1]:.2f} swapped"
    return Preference(1 / (1 + math.exp(-mean)), is_consistent, reason)
