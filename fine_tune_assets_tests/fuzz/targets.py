"""What is fuzzed: each target takes bytes as a stranger sends them, and may refuse them only in the way that it documents."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import schemathesis
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from graphql import OperationDefinitionNode, OperationType, parse
from hypothesis import strategies as st
from joserfc.jwk import ECKey
from starlette.testclient import TestClient

from fine_tune_assets.core.permissions import ROLES, SCOPES, may
from fine_tune_assets.core.releases.signature_bundles import BundleError, claimed_signer, verify_files
from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.dataset_files.dataset_rows import DatasetError, Refusal
from fine_tune_assets.desk.dagster_ui.graphql_policy import MUTATIONS, RefusedOperationError, Sender, check_operation
from fine_tune_assets.gateway.callers.oidc_tokens import KeySource, TokenError, TokenVerifier
from fine_tune_assets.phi.scrubber import Scrubber, build_scrubber
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.reports.formats.document_formats import DOCUMENT_FORMATS, read_document
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason
from fine_tune_assets_tests.fuzz.fuzzer import Target
from fine_tune_assets_tests.gateway.answers.answering import Answering, Engine, answering
from fine_tune_assets_tests.gateway.callers.whole_answers import WHOLE
from fine_tune_assets_tests.gateway.documents import gateway_document

TARGETS = ("gateway", "graphql", "reports", "datasets", "scrubber", "signatures", "tokens")
_KEY = generate_private_key(SECP256R1())
_KINDS = [one.kind for one in DOCUMENT_FORMATS]


@contextmanager
def open_target(name: str, with_schemas: bool = False) -> Iterator[Target]:
    """`with_schemas`: also make requests from the schemas of the gateway and of Dagster, which take seconds to prepare."""
    with tempfile.TemporaryDirectory() as folder:
        if name == "gateway":
            with _gateway(Path(folder)) as check:
                yield Target(name, check, _gateway_requests() if with_schemas else None)
        else:
            made = _dagster_operations() if with_schemas and name == "graphql" else None
            yield Target(name, _CHECKS[name](Path(folder)), made)


@contextmanager
def _gateway(folder: Path) -> Iterator[Callable[[bytes], str]]:
    """A route, a blank and a body. A 5xx is a fault of the gateway, and each error has a code."""
    engine = Engine(body=json.dumps({"object": "x", **WHOLE}).encode())
    engine.may_answer.set()
    chosen: dict[str, Any] = {"gateway": {"audit_retention_days": 0}}
    with answering(Answering, folder, engine, scopes=SCOPES, **chosen) as made:
        yield lambda content: _post(made.client, content)


def _post(client: TestClient, content: bytes) -> str:
    name, _, body = content.partition(b" ")
    path = next((path for path in _posts() if path.encode() == name), "/v1/chat/completions")
    reply = client.post(path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code < 500, reply.status_code
    return f"{path} {reply.status_code} {reply.json()['error']['code'] if reply.status_code >= 400 else ''}"


@cache
def _posts() -> list[str]:
    return [path for path, methods in gateway_document()["paths"].items() if "post" in methods]


def _gateway_requests() -> st.SearchStrategy[bytes]:
    schema = schemathesis.openapi.from_dict(gateway_document())
    schema.config.generation.update(modes=list(schemathesis.GenerationMode))
    return st.one_of([schema[path]["POST"].as_strategy().map(_as_bytes) for path in _posts()])


def _as_bytes(case: schemathesis.Case) -> bytes:
    return case.formatted_path.encode() + b" " + json.dumps(case.body, default=str).encode("utf-8", "replace")


def _graphql(_folder: Path) -> Callable[[bytes], str]:
    """Whatever passes is one operation whose mutations the sender's roles permit."""
    senders = [Sender([role], line, {"law"} - {line}) for role in ROLES for line in ("", "law")]
    return lambda content: " ".join(sorted({_send(content, sender) for sender in senders}))


def _send(content: bytes, sender: Sender) -> str:
    try:
        operation = check_operation(content, sender)
    except RefusedOperationError as error:
        return str(error.status)
    (sent,) = (node for node in parse(operation.body["query"]).definitions if isinstance(node, OperationDefinitionNode))
    assert sent.operation is not OperationType.SUBSCRIPTION
    assert bool(operation.mutations) == (sent.operation is OperationType.MUTATION)
    assert all(may(sender.roles, MUTATIONS[mutation.name]) for mutation in operation.mutations)
    return sent.operation.value


def _dagster_operations() -> st.SearchStrategy[bytes]:
    from dagster_graphql.schema import create_schema
    from hypothesis_graphql import from_schema

    return from_schema(create_schema().graphql_schema).map(lambda query: json.dumps({"query": query}).encode())


def _reports(_folder: Path) -> Callable[[bytes], str]:
    return _read_report


def _read_report(content: bytes) -> str:
    """A kind, a blank and a document."""
    name, _, document = content.partition(b" ")
    kind = next((kind for kind in _KINDS if kind.encode() == name), "html")
    reason = None
    try:
        read_document(kind, document, None)
    except UnreadableError as error:
        reason = error.reason
    assert reason is not UnreadableReason.READER_FAILED
    return f"{kind} {reason.name if reason else 'read'}"


def _datasets(folder: Path) -> Callable[[bytes], str]:
    path = folder / "rows"

    def read(content: bytes) -> str:
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        try:
            rows = [row.content for row in open_dataset(path).rows()]
        except DatasetError:
            return "error"
        return " ".join(sorted({row.name if isinstance(row, Refusal) else "read" for row in rows}))

    return read


@cache
def _scrubber() -> Scrubber:
    return build_scrubber(load_recipe("demo_smollm2").scrubber)


def _scrub(_folder: Path) -> Callable[[bytes], str]:
    def scrub(content: bytes) -> str:
        text = content.decode("utf-8", "replace")
        spans = _scrubber().scrub(text, ()).spans
        assert all(0 <= span.start < span.end <= len(text) for span in spans)
        return " ".join(sorted({span.label for span in spans}))

    return scrub


def _signatures(_folder: Path) -> Callable[[bytes], str]:
    def read(content: bytes) -> str:
        bundle = content.decode("utf-8", "replace")
        signer = "signer" if claimed_signer(bundle) is not None else "no signer"
        try:
            verify_files(bundle, _KEY.public_key())
        except BundleError as error:
            return f"{signer} {error}"
        raise AssertionError("a forged bundle verified")

    return read


def _tokens(folder: Path) -> Callable[[bytes], str]:
    path = folder / "jwks.json"
    path.write_text(json.dumps({"keys": [ECKey.generate_key("P-256", {"kid": "k1"}).as_dict(private=False)]}))
    verifier = TokenVerifier("https://login.example", "gateway", KeySource(str(path)), "scope", None)

    def verify(content: bytes) -> str:
        try:
            verifier.verify(content.decode("latin-1"), datetime.now(UTC))
        except TokenError as error:
            return f"refused {len(str(error))}"
        raise AssertionError("a forged token verified")

    return verify


_CHECKS: dict[str, Callable[[Path], Callable[[bytes], str]]] = {
    "graphql": _graphql,
    "reports": _reports,
    "datasets": _datasets,
    "scrubber": _scrub,
    "signatures": _signatures,
    "tokens": _tokens,
}
