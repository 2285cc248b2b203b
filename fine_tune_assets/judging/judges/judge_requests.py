"""Sends requests to a judge's language model, in parallel and with retries, and reads first-token probabilities."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Final, TypeVar

from fine_tune_assets.engines.chat_client import ChatClient, ChatPrompt, ChatReply, NoReplyError
from fine_tune_assets.judging.judges.judge_prompts import UnreadableReplyError

MAX_PAUSE_SECONDS: Final = 20.0
_AROUND_WORDS: Final = " \t\n\"'*`.,:"
"""Characters that a model may write in the same token as its word."""
Read = TypeVar("Read")
Key = TypeVar("Key")


@dataclass(frozen=True)
class Retries:
    count: int
    pause_seconds: float
    """Pause before the first retry after an outage; doubled for each further retry."""

    def request(
        self, client: ChatClient, prompt: Callable[[int], ChatPrompt], read: Callable[[ChatReply], Read]
    ) -> Read:
        """Read the first usable reply. `prompt` takes the number of the attempt. Raises the last attempt's error."""
        for attempt in range(self.count + 1):
            try:
                return read(client.complete(prompt(attempt)))
            except UnreadableReplyError:
                if attempt == self.count:
                    raise
            except NoReplyError as error:
                if attempt == self.count or not error.is_retryable:
                    raise
                time.sleep(min(MAX_PAUSE_SECONDS, self.pause_seconds * 2**attempt))
        raise AssertionError  # the last attempt returns or raises


def completed_results(futures: dict["Future[Read]", Key], pool: ThreadPoolExecutor) -> Iterator[tuple[Key, Read]]:
    """Key and result of each future as it completes. Raises the first error and cancels the rest, which would fail too."""
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def log_odds_of_tokens(first_token: Mapping[str, float], choice: tuple[str, str]) -> float | None:
    """Log-odds of the first choice against the second, from the log-probabilities of the top first tokens; None if neither is
    among them.

    A choice that is not listed gets the lowest listed probability, an upper bound, which never inflates the odds.
    """
    masses = [_log_mass(first_token, word) for word in choice]
    if masses == [None, None]:
        return None
    least = min(first_token.values())
    first, second = (least if mass is None else mass for mass in masses)
    return first - second


def _log_mass(first_token: Mapping[str, float], word: str) -> float | None:
    found = [value for token, value in first_token.items() if token.strip(_AROUND_WORDS).upper() == word]
    if not found:
        return None
    most = max(found)
    return most + math.log(sum(math.exp(value - most) for value in found))
