"""HTTP clients of the loop: users who ask and correct, people on the desk, and background traffic."""

import html
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

ANSWER_SECONDS = 120


class LoopError(Exception):
    """A step of the loop failed."""


@dataclass(frozen=True)
class Answer:
    text: str
    release_id: str


def http_client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False)


def ask(gateway: httpx.Client, key: str, question: str, max_tokens: int = 48) -> Answer:
    response = gateway.post("/v1/chat/completions", json=_chat(question, max_tokens), headers=_bearer(key))
    _require(response, 200, "The question")
    text = response.json()["choices"][0]["message"]["content"]
    return Answer(text.strip(), response.headers["x-release-id"])


def correct(gateway: httpx.Client, key: str, correction: dict[str, str], idempotency_key: str) -> str:
    """Send a correction and return its id."""
    headers = {**_bearer(key), "Idempotency-Key": idempotency_key}
    response = gateway.post("/v1/corrections", json=correction, headers=headers)
    _require(response, 201, "The correction")
    return str(response.json()["id"])


class DeskUser:
    """Signs in to the desk and submits the forms of its pages; the user's roles decide which of them are allowed."""

    def __init__(self, desk: httpx.Client, name: str, password: str) -> None:
        self._desk, self._origin = desk, {"origin": str(desk.base_url).rstrip("/")}
        self._post("/sign-in", {"name": name, "password": password}, self._page("/sign-in"), 303)

    def add_user(self, name: str, role: str) -> str:
        """As an operator, add a user; returns the password, which the page shows once."""
        shown = self._post("/users", {"name": name, "role": role}, self._page("/users"), 200).text
        return html.unescape(_found(r'<code class="secret">([^<]+)</code>', shown))

    def sign_verdict(self, verdict_id: str, reason: str) -> None:
        """As an approver, sign a verdict on hold."""
        path = f"/verdicts/{verdict_id}"
        self._post(f"{path}/sign", {"reason": reason}, self._page(path), 303)

    def waiting(self, source: str = "correction") -> list[str]:
        """Ids of all drafts from a source in the queue, in the order of its pages."""
        found: list[str] = []
        path: str | None = f"/queue?source={source}&state=waiting"
        while path is not None:
            page = self._page(path)
            found += re.findall(r'href="/items/([^/"?]+)', page)
            following = re.search(r'id="more".*?hx-get="([^"]+)"', page)
            path = html.unescape(following[1]) if following else None
        return list(dict.fromkeys(found))

    def approve(self, example_id: str) -> None:
        """Open the item, request the signature preview, acknowledge its flags, and sign exactly that."""
        page = self._page(f"/items/{example_id}")
        form: dict[str, str | list[str]] = {
            "output": html.unescape(_found(r'(?s)<textarea id="draft-text"[^>]*>(.*?)</textarea>', page))
        }
        shown = self._post(f"/items/{example_id}/signature-preview", form, page, 200).text
        form |= {"decision": "approve", "meaning": "approve"}
        form["version"] = _found(r'name="version" value="(\d+)"', page)
        form["signed"] = _found(r'name="signed" value="([0-9a-f]{64})"', shown)
        form["acknowledged"] = re.findall(r'name="acknowledged" value="([0-9a-f]{64})"', shown)
        self._post(f"/items/{example_id}/decide", form, page, 303)

    def _page(self, path: str) -> str:
        response = self._desk.get(path)
        _require(response, 200, f"The page {path}")
        return response.text

    def _post(self, path: str, form: Mapping[str, str | list[str]], page: str, status: int) -> httpx.Response:
        token = _found(r'name="form_token" value="([0-9a-f]{64})"', page)
        response = self._desk.post(path, data={"form_token": token, **form}, headers=self._origin)
        _require(response, status, f"The form {path}")
        return response


@dataclass
class Tally:
    """Outcomes of the traffic's requests. Failed requests are not retried."""

    complete: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Requests by kind of failure: an HTTP status, `cut`, or the name of an exception."""
    by_release: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    @property
    def requests(self) -> int:
        return self.complete + self.failed.total()


class Traffic:
    """A client that sends requests in a background thread until the context exits. Every other request is a stream.

    It pauses between requests, because each answer takes processor time from the training.
    """

    def __init__(self, gateway: httpx.Client, key: str, pause_seconds: float = 0.5) -> None:
        self.tally = Tally()
        self._gateway, self._key, self._pause_seconds = gateway, key, pause_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the request in flight."""
        self._stop.set()
        self._thread.join(ANSWER_SECONDS + 5)
        if self._thread.is_alive():
            self.tally.failed["unanswered"] += 1

    def _run(self) -> None:
        is_stream = False
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                failure = self._failure(is_stream)
            except (httpx.HTTPError, ValueError, LookupError) as error:
                failure = type(error).__name__
            self.tally.slowest_seconds = max(self.tally.slowest_seconds, time.monotonic() - started)
            if failure is None:
                self.tally.complete += 1
            else:
                self.tally.failed[failure] += 1
            is_stream = not is_stream
            self._stop.wait(self._pause_seconds)

    def _failure(self, is_stream: bool) -> str | None:
        """Send a request; return the kind of failure, or None for a complete answer."""
        sent = {**_chat("Write a greeting.", max_tokens=8), "stream": is_stream}
        response = self._gateway.post("/v1/chat/completions", json=sent, headers=_bearer(self._key))
        if response.status_code != 200:
            return str(response.status_code)
        self.tally.by_release[response.headers["x-release-id"]] += 1
        if is_stream:
            return None if response.text.rstrip().endswith("data: [DONE]") else "cut"
        return None if response.json()["choices"][0]["finish_reason"] else "cut"


def _chat(question: str, max_tokens: int) -> dict[str, object]:
    messages = [{"role": "user", "content": question}]
    return {"model": "live", "messages": messages, "max_tokens": max_tokens, "temperature": 0}


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _require(response: httpx.Response, status: int, what: str) -> None:
    if response.status_code != status:
        raise LoopError(f"{what} returned status {response.status_code} instead of {status}.")


def _found(pattern: str, page: str) -> str:
    found = re.search(pattern, page)
    if found is None:
        raise LoopError("A page of the desk has an unexpected form. Another reviewer may have decided about the item.")
    return found[1]
