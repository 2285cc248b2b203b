"""Authentication and scopes of every route: callers without permission are refused, the others are admitted."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.testclient import TestClient

from fine_tune_assets.core.oidc_provider import OidcError
from fine_tune_assets.core.permissions import SCOPES
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.callers.oidc_tokens import FAILURE_BACKOFF_SECONDS, KeySource
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import corrections
from fine_tune_assets.ledger.people.api_keys import create_key, revoke_key
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets_tests.gateway.documents import gateway_document
from fine_tune_assets_tests.ledger.ledger_rows import owned_key, record_promoted
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

ISSUER, AUDIENCE = "https://login.test", "gateway"
ROUTES = {
    ("GET", "/metrics"): "metrics",
    ("GET", "/openapi.json"): None,
    ("GET", "/v1/models"): "chat",
    ("POST", "/v1/chat/completions"): "chat",
    ("POST", "/v1/completions"): "chat",
    ("POST", "/v1/embeddings"): "embed",
    ("POST", "/v1/corrections"): "correct",
    ("GET", "/v1/corrections"): "correct",
}
OPEN = {("GET", "/health"), ("GET", "/ready")}
IN = {200, 400, 503}
"""Status codes of an admitted request: these tests send an empty body and have no live release."""


@dataclass
class House:
    client: TestClient
    ledger: Ledger
    keys: dict[str, str]
    signing: ECKey

    def ask(self, route: tuple[str, str], bearer: str | None) -> httpx.Response:
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        content = "{}" if route[0] == "POST" else None
        return self.client.request(route[0], route[1], headers=headers, content=content)

    def token(self, key: Any = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-17", "exp": now + 300, "scope": "ask other"} | claims
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(header or {"alg": "ES256", "kid": "k1"}, payload, key or self.signing)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    signing = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig"})
    (folder / "jwks.json").write_text(json.dumps({"keys": [signing.as_dict(private=False)]}))
    settings = Settings(
        data_dir=folder / "data",
        gateway={
            "oidc_issuer": ISSUER,
            "oidc_audience": AUDIENCE,
            "oidc_jwks": str(folder / "jwks.json"),
            "oidc_scopes": "ask=chat send=correct vectors=embed count=metrics",
        },
    )
    ledger = fresh_ledger(settings)
    keys = {scope: owned_key(ledger, scope, [scope]).secret for scope in SCOPES}
    keys["expired"] = create_key(ledger, "expired", SCOPES, datetime.now(UTC) - timedelta(seconds=1)).secret
    revoked = create_key(ledger, "revoked", SCOPES)
    revoke_key(ledger, revoked.key_id)
    keys["revoked"] = revoked.secret
    with TestClient(create_app(settings)) as client:
        yield House(client, ledger, keys, signing)
    ledger.close()


def test_the_matrix_and_the_document_cover_all_routes() -> None:
    """A route that is not listed here would be untested."""
    listed = {(m.upper(), path) for path, methods in gateway_document()["paths"].items() for m in methods}
    assert listed == set(ROUTES) | OPEN


@pytest.mark.parametrize("route", sorted(OPEN))
def test_health_and_readiness_need_no_key_and_reveal_nothing(house: House, route: tuple[str, str]) -> None:
    """Load balancers have no key."""
    reply = house.ask(route, None)
    assert (reply.status_code in (200, 503), set(reply.json())) == (True, {"status"})


@pytest.mark.parametrize("route", sorted(ROUTES))
@pytest.mark.parametrize(
    ("who", "code"),
    [
        (None, "missing_api_key"),
        ("fta_0_0", "invalid_api_key"),
        ("expired", "expired_api_key"),
        ("revoked", "revoked_api_key"),
        ("nonsense", "invalid_token"),
    ],
)
def test_requests_without_a_valid_key_are_refused(
    house: House, route: tuple[str, str], who: str | None, code: str
) -> None:
    """Authentication comes before everything else."""
    reply = house.ask(route, None if who is None else house.keys.get(who, who))
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, code)
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", sorted(path for method, path in ROUTES if method == "POST"))
def test_without_a_key_no_body_is_checked(house: House, path: str) -> None:
    """An unauthenticated caller learns nothing about bodies."""
    for content in (b"no JSON", b'{"no_such_field": 1}', b" " * 1_000_001):
        reply = house.client.post(path, content=content, headers={"Authorization": "Bearer fta_0_0"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("path", sorted(path for method, path in {*ROUTES, *OPEN} if method == "GET"))
def test_get_routes_answer_head_in_the_same_way(house: House, path: str) -> None:
    """Load balancers often use HEAD."""
    headers = {"Authorization": f"Bearer {house.keys['chat']}"}
    get, head = house.client.get(path, headers=headers), house.client.head(path, headers=headers)
    assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])


@pytest.mark.parametrize("route", sorted(ROUTES))
@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_is_limited_to_its_scope(house: House, route: tuple[str, str], scope: str) -> None:
    """Each of the seven routes with each of the six scopes."""
    reply = house.ask(route, house.keys[scope])
    if ROUTES[route] in (None, scope):
        assert reply.status_code in IN
    else:
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "wrong_scope")


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_a_token_is_limited_to_its_mapped_scopes(house: House, route: tuple[str, str]) -> None:
    """`gateway.oidc_scopes` maps the provider's scopes; the claim may be a list."""
    theirs = {"chat": "ask", "correct": "send", "embed": "vectors", "metrics": "count", None: "other"}[ROUTES[route]]
    assert house.ask(route, house.token(scope=[theirs])).status_code in IN
    if ROUTES[route] is not None:
        assert house.ask(route, house.token(scope="other chat")).status_code == 403


WRONG: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "somebody else"},
    "another issuer": {"iss": "https://evil.test"},
    "no audience": {"aud": None},
    "no end": {"exp": None},
    "nobody": {"sub": None},
    "a subject that is no text": {"sub": 7},
    "a subject like an address": {"sub": "mailto:u-17@clinic.example"},
    "not valid yet": {"nbf": int(time.time()) + 3000},
}


@pytest.mark.parametrize("route", sorted(ROUTES))
@pytest.mark.parametrize("what", WRONG)
def test_a_token_for_another_service_is_refused(house: House, route: tuple[str, str], what: str) -> None:
    """It may be valid for another application of the same provider."""
    reply = house.ask(route, house.token(scope="ask send vectors count", **WRONG[what]))
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_token")


def test_a_desk_user_with_a_token_is_one_person(house: House) -> None:
    """Otherwise users could review their own corrections."""
    record_promoted(house.ledger, "r-1")
    identity, now = f"{ISSUER}|u-17", datetime.now(UTC)
    create_user(house.ledger, "Ward Three", ("reviewer",), password=None, oidc_identity=identity, now=now)
    body = {"release_id": "r-1", "instruction": "i", "answer": "a", "corrected_answer": "b"}
    for subject in ("u-17", "u-18"):
        headers = {"authorization": f"Bearer {house.token(scope='send', sub=subject)}"}
        assert house.client.post("/v1/corrections", json=body, headers=headers).status_code == 201
    with house.ledger.read() as connection:
        authors = connection.execute(sa.select(corrections.c.author).order_by(corrections.c.sequence)).scalars().all()
    assert list(authors) == ["Ward Three", "oidc:u-18"]


def test_an_unreachable_provider_is_not_contacted_for_every_request(tmp_path: Path) -> None:
    """Each attempt may take ten seconds, for which all callers wait."""
    place, key = tmp_path / "jwks.json", ECKey.generate_key("P-256", {"kid": "k1", "use": "sig"})
    source = KeySource(str(place))
    for _ in range(2):
        with pytest.raises(OidcError):
            source.keys()
        place.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    time.sleep(FAILURE_BACKOFF_SECONDS)
    assert source.keys().keys


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_a_key_id_without_its_secret_is_refused(house: House, route: tuple[str, str]) -> None:
    """Ids are in logs, which many can read. The route would admit the complete key."""
    prefix, key_id, secret = house.keys[ROUTES[route] or "chat"].split("_", 2)
    for wrong in ("", "0", secret[:-1], f"{secret}0", house.keys["expired"].split("_", 2)[2]):
        reply = house.ask(route, f"{prefix}_{key_id}_{wrong}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key"), len(wrong)


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_an_expired_token_is_refused_after_the_tolerated_clock_difference(house: House, route: tuple[str, str]) -> None:
    """The code tells the application to fetch a new token."""
    now, scope = int(time.time()), "ask send vectors count"
    assert house.ask(route, house.token(exp=now - 30, scope=scope)).status_code in IN
    reply = house.ask(route, house.token(exp=now - 90, scope=scope))
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "expired_token")


@pytest.fixture(scope="module")
def forged(house: House) -> list[str]:
    """Another key with the same id, no signature, the public key as a shared secret, and a wrong signature."""
    other = ECKey.generate_key("P-256", {"kid": "k1"})
    public, scope = house.signing.as_pem(private=False), "ask send vectors count"
    payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u", "exp": 2**40, "scope": scope}
    claims = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=") + b"." + claims + b"."
    return [
        house.token(key=other, scope=scope),
        none.decode(),
        _signed_with_the_public_key(public, claims),
        house.token(key=RSAKey.generate_key(2048), header={"alg": "RS256", "kid": "k1"}, scope=scope),
        house.token(scope=scope)[:-4] + "AAAA",
    ]


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_a_forged_signature_is_refused(house: House, forged: list[str], route: tuple[str, str]) -> None:
    """The forged scopes would give access to every route."""
    for number, token in enumerate(forged):
        assert house.ask(route, token).status_code == 401, number


def _signed_with_the_public_key(public: bytes, claims: bytes) -> str:
    """Signed manually, since the library refuses this."""
    signed = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').rstrip(b"=") + b"." + claims
    signature = hmac.new(public, signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def test_a_signed_token_that_is_nested_too_deeply_is_refused(house: House) -> None:
    """It would end as an internal error."""
    token = jws.serialize_compact({"alg": "ES256", "kid": "k1"}, b'{"a":' + b"[" * 9000, house.signing)
    assert house.ask(sorted(ROUTES)[0], token).status_code == 401


def test_rotated_provider_keys_are_refreshed_at_a_limited_rate(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of tokens with unknown key ids must not become a flood of requests to the provider."""
    from fine_tune_assets.gateway.callers import oidc_tokens

    path, first = tmp_path / "jwks.json", ECKey.generate_key("P-256", {"kid": "a"})
    second = ECKey.generate_key("P-256", {"kid": "b"})
    path.write_text(json.dumps({"keys": [first.as_dict(private=False)]}))
    verifier = oidc_tokens.TokenVerifier(ISSUER, AUDIENCE, oidc_tokens.KeySource(str(path)), "scope", None)
    now = datetime.now(UTC)
    old = house.token(first, {"alg": "ES256", "kid": "a"}, scope="chat label:x admin")
    new = house.token(second, {"alg": "ES256", "kid": "b"})
    assert verifier.verify(old, now).scopes == {"chat", "label:x"}
    path.write_text(json.dumps({"keys": [second.as_dict(private=False)]}))
    with pytest.raises(oidc_tokens.TokenError):
        verifier.verify(new, now)
    monkeypatch.setattr(oidc_tokens, "REFRESH_INTERVAL_SECONDS", 0.0)
    assert verifier.verify(new, now).subject == "u-17"
    with pytest.raises(oidc_tokens.TokenError):
        verifier.verify(old, now)


@pytest.mark.parametrize("key", [OctKey.generate_key(256), ECKey.generate_key("P-256")])
def test_a_key_file_with_secret_or_private_keys_is_refused(tmp_path: Path, key: Any) -> None:
    """Holders of a shared secret could sign, and a private key shows that it is the wrong file."""
    from fine_tune_assets.core.oidc_provider import OidcError
    from fine_tune_assets.gateway.callers.oidc_tokens import KeySource

    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=True)]}))
    with pytest.raises(OidcError):
        KeySource(str(tmp_path / "jwks.json")).keys()
