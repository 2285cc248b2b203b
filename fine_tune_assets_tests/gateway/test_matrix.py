"""Every route, for everybody who might ask: nobody gets in who should not, and nobody who should is kept out."""

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
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.testclient import TestClient

from fine_tune_assets.core.oidc import OidcError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.app import create_app
from fine_tune_assets.gateway.callers.oidc_tokens import FAILED_SECONDS, KeySource
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import SCOPES, create_key, revoke_key
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets.ledger.schema import corrections
from fine_tune_assets_tests.gateway.documents import gateway_document
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.ledger.made import record_promoted

ISSUER, AUDIENCE = "https://login.test", "gateway"
ROUTES = {
    ("GET", "/metrics"): "metrics",
    ("GET", "/openapi.json"): None,
    ("GET", "/v1/models"): "chat",
    ("POST", "/v1/chat/completions"): "chat",
    ("POST", "/v1/completions"): "chat",
    ("POST", "/v1/embeddings"): "embed",
    ("POST", "/v1/corrections"): "correct",
}
OPEN = {("GET", "/health"), ("GET", "/ready")}
IN = {200, 400, 503}
"""Behind the door: with an empty body the field that is missing is named, and without a release nothing is live."""


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
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-17", "exp": now + 300, "scope": "ask other"} | claims
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(header or {"alg": "ES256", "kid": "k1"}, said, key or self.signing)


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
    ledger = fresh_ledger(settings.database_url)
    keys = {scope: create_key(ledger, scope, [scope]).secret for scope in SCOPES}
    keys["expired"] = create_key(ledger, "expired", SCOPES, datetime.now(UTC) - timedelta(seconds=1)).secret
    revoked = create_key(ledger, "revoked", SCOPES)
    revoke_key(ledger, revoked.key_id)
    keys["revoked"] = revoked.secret
    with TestClient(create_app(settings)) as client:
        yield House(client, ledger, keys, signing)
    ledger.close()


def test_the_matrix_is_of_all_routes_and_so_is_the_document() -> None:
    """A route that nobody thought of here is one that nobody guards."""
    listed = {(m.upper(), path) for path, methods in gateway_document()["paths"].items() for m in methods}
    assert listed == set(ROUTES) | OPEN


@pytest.mark.parametrize("route", sorted(OPEN))
def test_health_and_readiness_need_no_key_and_say_nothing(house: House, route: tuple[str, str]) -> None:
    """Load balancers have none."""
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
def test_nobody_gets_in_without_a_key_that_opens(
    house: House, route: tuple[str, str], who: str | None, code: str
) -> None:
    """Deny comes first, whatever is asked."""
    reply = house.ask(route, None if who is None else house.keys.get(who, who))
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, code)
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", sorted(path for method, path in ROUTES if method == "POST"))
def test_without_a_key_no_body_is_checked(house: House, path: str) -> None:
    """A caller who is not let in learns nothing about bodies."""
    for content in (b"no JSON", b'{"no_such_field": 1}', b" " * 1_000_001):
        reply = house.client.post(path, content=content, headers={"Authorization": "Bearer fta_0_0"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("path", sorted(path for method, path in {*ROUTES, *OPEN} if method == "GET"))
def test_what_can_be_read_answers_head_as_it_answers_get(house: House, path: str) -> None:
    """Load balancers often ask so."""
    headers = {"Authorization": f"Bearer {house.keys['chat']}"}
    get, head = house.client.get(path, headers=headers), house.client.head(path, headers=headers)
    assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])


@pytest.mark.parametrize("route", sorted(ROUTES))
@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_opens_what_its_scope_says_and_nothing_else(house: House, route: tuple[str, str], scope: str) -> None:
    """Each of the seven routes with each of the six scopes."""
    reply = house.ask(route, house.keys[scope])
    if ROUTES[route] in (None, scope):
        assert reply.status_code in IN
    else:
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "wrong_scope")


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_a_token_opens_what_the_provider_allows(house: House, route: tuple[str, str]) -> None:
    """Their names for scopes are ours by the setting; the claim may be a list."""
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
    "not valid yet": {"nbf": int(time.time()) + 3000},
}


@pytest.mark.parametrize("route", sorted(ROUTES))
@pytest.mark.parametrize("what", WRONG)
def test_a_token_that_is_not_for_us_opens_nothing(house: House, route: tuple[str, str], what: str) -> None:
    """It may be a good one, for another program of the same provider."""
    reply = house.ask(route, house.token(scope="ask send vectors count", **WRONG[what]))
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_token")


def test_who_is_a_user_of_the_desk_too_is_one_person_in_both(house: House) -> None:
    """Nobody may review their own correction, whichever door it came in by."""
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


def test_a_provider_that_is_away_is_not_asked_for_every_request(tmp_path: Path) -> None:
    """Each attempt may take ten seconds, for which everybody waits."""
    place, key = tmp_path / "jwks.json", ECKey.generate_key("P-256", {"kid": "k1", "use": "sig"})
    source = KeySource(str(place))
    for _ in range(2):
        with pytest.raises(OidcError):
            source.keys()
        place.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    time.sleep(FAILED_SECONDS)
    assert source.keys().keys


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_the_id_of_a_key_opens_nothing_without_its_secret(house: House, route: tuple[str, str]) -> None:
    """Ids stand in logs, where many read them. The key is one that the route would let in."""
    prefix, key_id, secret = house.keys[ROUTES[route] or "chat"].split("_", 2)
    for wrong in ("", "0", secret[:-1], f"{secret}0", house.keys["expired"].split("_", 2)[2]):
        reply = house.ask(route, f"{prefix}_{key_id}_{wrong}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key"), len(wrong)


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_an_expired_token_says_so_but_for_the_minute_that_clocks_may_differ(
    house: House, route: tuple[str, str]
) -> None:
    """The application then fetches a new one."""
    now, scope = int(time.time()), "ask send vectors count"
    assert house.ask(route, house.token(exp=now - 30, scope=scope)).status_code in IN
    reply = house.ask(route, house.token(exp=now - 90, scope=scope))
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "expired_token")


@pytest.fixture(scope="module")
def forged(house: House) -> list[str]:
    """Another key under the same name; no signature at all; the public key as a shared secret; another signature."""
    other = ECKey.generate_key("P-256", {"kid": "k1"})
    public, scope = house.signing.as_pem(private=False), "ask send vectors count"
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u", "exp": 2**40, "scope": scope}
    claims = base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=") + b"." + claims + b"."
    return [
        house.token(key=other, scope=scope),
        none.decode(),
        _signed_with_the_public_key(public, claims),
        house.token(key=RSAKey.generate_key(2048), header={"alg": "RS256", "kid": "k1"}, scope=scope),
        house.token(scope=scope)[:-4] + "AAAA",
    ]


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_a_forged_signature_opens_nothing(house: House, forged: list[str], route: tuple[str, str]) -> None:
    """The scopes in it would open every route."""
    for number, token in enumerate(forged):
        assert house.ask(route, token).status_code == 401, number


def _signed_with_the_public_key(public: bytes, claims: bytes) -> str:
    """By hand: the library refuses to."""
    said = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').rstrip(b"=") + b"." + claims
    signature = hmac.new(public, said, hashlib.sha256).digest()
    return (said + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def test_keys_that_the_provider_changed_are_read_again_but_not_at_every_request(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Providers change their keys; and a flood of forged names must not become a flood of questions to the provider."""
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
    monkeypatch.setattr(oidc_tokens, "ASK_AGAIN_SECONDS", 0.0)
    assert verifier.verify(new, now).subject == "u-17"
    with pytest.raises(oidc_tokens.TokenError):
        verifier.verify(old, now)


@pytest.mark.parametrize("key", [OctKey.generate_key(256), ECKey.generate_key("P-256")])
def test_a_key_file_with_secrets_in_place_of_public_keys_is_not_used(tmp_path: Path, key: Any) -> None:
    """A shared secret would let its holders sign; a private key shows that the file is the wrong one."""
    from fine_tune_assets.core.oidc import OidcError
    from fine_tune_assets.gateway.callers.oidc_tokens import KeySource

    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=True)]}))
    with pytest.raises(OidcError):
        KeySource(str(tmp_path / "jwks.json")).keys()
