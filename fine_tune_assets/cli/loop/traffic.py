"""A client that asks all the time, so that a request that a switch would lose is seen.

Owns the thread, and what each request came to. Every other request is a stream. Nothing is sent again: what fails once counts.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from fine_tune_assets.cli.loop.people import ANSWER_SECONDS, question

PAUSE_SECONDS = 0.5
"""Between two requests: the answers take the processor from the training."""
_QUESTION = question("Write a greeting.", "", 8)
_DONE = "data: [DONE]"


@dataclass
class Tally:
    """What the requests came to."""

    whole: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Kind of failure → requests: an HTTP status, `cut`, or the kind of an error."""
    by_release: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    @property
    def asked(self) -> int:
        return self.whole + self.failed.total()


class Traffic:
    """Asks in a thread until it is stopped. A context manager."""

    def __init__(self, url: str, secret: str) -> None:
        self.tally = Tally()
        self._url, self._secret = url, secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Tally:
        """Let the request that is out end, and return the tally."""
        self._stop.set()
        self._thread.join(ANSWER_SECONDS + 5)
        if self._thread.is_alive():
            self.tally.failed["unanswered"] = 1
        return self.tally

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._secret}"}
        with httpx.Client(base_url=self._url, headers=headers, timeout=ANSWER_SECONDS, trust_env=False) as client:
            number = 0
            while not self._stop.is_set():
                self._ask(client, is_stream=number % 2 == 1)
                number += 1
                self._stop.wait(PAUSE_SECONDS)

    def _ask(self, client: httpx.Client, *, is_stream: bool) -> None:
        started = time.monotonic()
        try:
            failure = self._outcome(client, is_stream)
        except (httpx.HTTPError, ValueError, LookupError) as error:  # or an answer that is none
            failure = type(error).__name__
        self.tally.slowest_seconds = max(self.tally.slowest_seconds, time.monotonic() - started)
        if failure is None:
            self.tally.whole += 1
        else:
            self.tally.failed[failure] += 1

    def _outcome(self, client: httpx.Client, is_stream: bool) -> str | None:
        """Why it failed; None if the whole answer came."""
        with client.stream("POST", "/v1/chat/completions", json={**_QUESTION, "stream": is_stream}) as response:
            body = response.read().decode("utf-8")
        if response.status_code != 200:
            return str(response.status_code)
        is_whole = body.rstrip().endswith(_DONE) if is_stream else response.json()["choices"][0]["finish_reason"]
        self.tally.by_release[response.headers["x-release-id"]] += 1
        return None if is_whole else "cut"
