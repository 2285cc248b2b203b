"""Fuzzes the gateway with valid and invalid requests from its OpenAPI document, and checks the responses against it."""

import json
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from fine_tune_assets.core.permissions import SCOPES
from fine_tune_assets_tests.gateway.answers.answering import Answering, Engine, answering
from fine_tune_assets_tests.gateway.callers.whole_answers import WHOLE
from fine_tune_assets_tests.gateway.documents import gateway_document

document = gateway_document()
document["paths"].pop("/ready")  # 503 is a regular response of it
schema = schemathesis.openapi.from_dict(document)
schema.config.generation.update(modes=list(schemathesis.GenerationMode))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    # Engines set `object`, and a raw completion is relayed unchanged.
    engine, chosen = (
        Engine(body=json.dumps({"object": "x", **WHOLE}).encode()),
        {"gateway": {"audit_retention_days": 0}},
    )
    folder = tmp_path_factory.mktemp("openapi")
    with answering(Answering, folder, engine, scopes=SCOPES, raises=False, **chosen) as made:
        yield made.client


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_makes_the_gateway_fail(case: schemathesis.Case, client: TestClient) -> None:
    """A 500 is always a fault of the gateway."""
    sent = case.as_transport_kwargs(base_url="http://testserver")
    headers = {
        name: value for name, value in (sent.pop("headers", None) or {}).items() if name.lower() != "authorization"
    }
    sent.pop("cookies", None)
    try:
        reply = client.request(**sent, headers=headers)
    except (UnicodeEncodeError, httpx.InvalidURL):
        return  # no HTTP client can send it
    case.validate_response(reply, checks=CHECKS)
