"""The people of the demo of the loop: wards that ask and correct through the gateway, and a reviewer who signs in the desk.

Owns what they send over HTTP: exactly what a client, and the forms of the desk's pages, would. Nothing here writes to the ledger.
"""

import html
import re
from dataclasses import dataclass

import httpx

from fine_tune_assets.core.chat import user_content
from fine_tune_assets.core.errors import FineTuneError

ANSWER_SECONDS = 120
MAX_TOKENS = 48
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
_VERSION = re.compile(r'name="version" value="(\d+)"')
_SIGNED = re.compile(r'name="signed" value="([0-9a-f]{64})"')
_DRAFT = re.compile(r'<textarea id="draft-text"[^>]*>(.*?)</textarea>', re.DOTALL)
_ITEM = re.compile(r'href="/items/([^/"?]+)')


class LoopError(FineTuneError):
    """A step of the demo did not come to its end."""


@dataclass(frozen=True)
class Answered:
    text: str
    release_id: str


class Ward:
    """Whoever holds a key of the gateway."""

    def __init__(self, url: str, secret: str) -> None:
        headers = {"Authorization": f"Bearer {secret}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=ANSWER_SECONDS, trust_env=False)

    def ask(self, instruction: str, input_text: str, max_tokens: int = MAX_TOKENS) -> Answered:
        response = self._client.post("/v1/chat/completions", json=question(instruction, input_text, max_tokens))
        _require(response, 200, "A question")
        text = response.json()["choices"][0]["message"]["content"]
        return Answered(str(text).strip(), response.headers["x-release-id"])

    def correct(self, instruction: str, input_text: str, answered: Answered, corrected: str, key: str) -> str:
        """Send it, and return the id that it was acknowledged with."""
        sent = {
            "release_id": answered.release_id,
            "instruction": instruction,
            "input": input_text,
            "answer": answered.text,
            "corrected_answer": corrected,
            "error_kind": "format",
            "severity": "medium",
        }
        response = self._client.post("/v1/corrections", json=sent, headers={"Idempotency-Key": key})
        _require(response, 201, "A correction")
        return str(response.json()["id"])

    def close(self) -> None:
        self._client.close()


def question(instruction: str, input_text: str, max_tokens: int) -> dict[str, object]:
    """The body of a request to the gateway."""
    messages = [{"role": "user", "content": user_content(instruction, input_text)}]
    return {"model": "live", "messages": messages, "max_tokens": max_tokens, "temperature": 0}


class Reviewer:
    """A browser without a screen: keeps cookies, and sends what a page's form would send."""

    def __init__(self, url: str, name: str, password: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=60, trust_env=False, headers={"origin": url})
        form = {"form_token": _found(_TOKEN, self._get("/sign-in")), "name": name, "password": password}
        _require(self._client.post("/sign-in", data=form), 303, "Signing in")

    def waiting(self, source: str) -> list[str]:
        """Ids of the drafts from a source that wait, in the order of the queue's pages."""
        found: dict[str, None] = {}
        page = self._get(f"/queue?source={source}&state=waiting")
        found.update(dict.fromkeys(_ITEM.findall(page)))
        while (following := re.search(r'id="more".*?hx-get="([^"]+)"', page)) is not None:
            page = self._get(html.unescape(following[1]))
            found.update(dict.fromkeys(_ITEM.findall(page)))
        return list(found)

    def approve(self, example_id: str) -> None:
        """Open the item, read it, have what would be recorded shown, and sign exactly that."""
        page = self._get(f"/items/{example_id}")
        token, output = _found(_TOKEN, page), html.unescape(_found(_DRAFT, page))
        shown = self._client.post(f"/items/{example_id}/signing", data={"form_token": token, "output": output})
        _require(shown, 200, "What is to be signed")
        form = {
            "form_token": token,
            "decision": "approve",
            "meaning": "approve",
            "output": output,
            "version": _found(_VERSION, page),
            "signed": _found(_SIGNED, shown.text),
        }
        _require(self._client.post(f"/items/{example_id}/decide", data=form), 303, "A signature")

    def close(self) -> None:
        self._client.close()

    def _get(self, path: str) -> str:
        response = self._client.get(path)
        _require(response, 200, "A page of the desk")
        return response.text


def _require(response: httpx.Response, status: int, what: str) -> None:
    if response.status_code != status:
        raise LoopError(f"{what} was answered with {response.status_code}.")


def _found(pattern: re.Pattern[str], page: str) -> str:
    found = pattern.search(page)
    if found is None:
        raise LoopError("A page of the desk is not as expected: the item may have been decided on already.")
    return found[1]
