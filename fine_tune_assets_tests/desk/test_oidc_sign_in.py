"""Signing in by OpenID Connect, against a small provider on loopback that really signs its tokens (RS256)."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import sqlalchemy as sa
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.desk_app import create_app
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.ledger_tables import sessions
from fine_tune_assets.ledger.people.users import create_user, disable_user, find_user
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.loopback import start_app

SECRET = "a secret of the client"


@dataclass
class Provider:
    """Signs in as `subject`. Tests can change the content of its tokens."""

    port: int
    subject: str = "subject-1"
    claims: dict[str, Any] = field(default_factory=dict)
    secret: str | None = SECRET
    sign: Callable[[dict[str, Any]], str] | None = None
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def metadata(self, _request: Request) -> Response:
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return JSONResponse({"issuer": self.issuer, **{k: f"{self.issuer}/{v}" for k, v in paths.items()}})

    async def keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False, use="sig", alg="RS256")]})

    async def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return RedirectResponse(f"{asked['redirect_uri']}?code={code}&state={asked['state']}", status_code=302)

    async def token(self, request: Request) -> Response:
        sent = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self.codes.pop(sent.get("code", ""), None)
        is_proved = asked is not None and create_s256_code_challenge(sent["code_verifier"]) == asked["code_challenge"]
        if asked is None or not is_proved or sent["redirect_uri"] != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        if self.secret and httpx.BasicAuth("desk", self.secret)._auth_header != request.headers.get("authorization"):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": self.subject, "aud": "desk", "iat": now, "exp": now + 300}
        claims |= {"nonce": asked["nonce"], **self.claims}
        sign = self.sign or (lambda c: jwt.encode({"alg": "RS256", "kid": self.key.kid}, c, self.key))
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": sign(claims)})


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider(free_port())
    routes = [
        Route("/.well-known/openid-configuration", made.metadata),
        Route("/keys", made.keys),
        Route("/authorize", made.authorize),
        Route("/token", made.token, methods=["POST"]),
    ]
    stop = start_app(Starlette(routes=routes), made.port, log_level="error")
    yield made
    stop()


@pytest.fixture
def site(serve: Callable[..., Site], provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Site:
    secret = tmp_path_factory.mktemp("secret") / "client"
    secret.touch(mode=0o600)
    secret.write_text(f"{SECRET}\n")
    made = serve(
        oidc={
            "issuer": provider.issuer,
            "client_id": "desk",
            "client_secret_file": str(secret),
            "button_label": "Clinic",
        }
    )
    add(made, "Reviewer One", f"{provider.issuer}|subject-1")
    return made


def add(site: Site, name: str, identity: str) -> None:
    create_user(site.ledger, name, ["reviewer"], password=None, oidc_identity=identity, now=datetime.now(UTC))


def sign_in(site: Site, path: str = "/sign-in/oidc") -> tuple[httpx.Client, httpx.Response]:
    """Through the provider and back, as a browser does."""
    client = httpx.Client(base_url=site.url, trust_env=False)
    return client, client.get(client.get(client.get(path).headers["location"]).headers["location"])


def test_a_known_identity_is_signed_in_and_redirected_to_the_requested_page(site: Site) -> None:
    """Code, PKCE, state and nonce; the name is the one that the operator gave."""
    assert "Sign in with Clinic" in site.visitor().get("/sign-in").text
    client, reply = sign_in(site, "/sign-in/oidc?next=/account")
    assert (reply.status_code, reply.headers["location"]) == (303, "/account")
    assert "Reviewer One" in client.get("/account").text
    assert not any("oidc" in cookie.name for cookie in client.cookies.jar)


@pytest.fixture
def grouped(serve: Callable[..., Site], provider: Provider) -> Callable[..., Site]:
    """A desk whose provider's groups are access labels."""

    def start(**changes: object) -> Site:
        labels = "/wards/Ward 3=ward-3; CN=Pharmacy,OU=Groups,DC=clinic=pharmacy; /wards/Ward 3=hr"
        made = serve(oidc={"issuer": provider.issuer, "client_id": "desk", "group_labels": labels} | changes)
        add(made, "Reviewer One", f"{provider.issuer}|subject-1")
        return made

    return start


@pytest.mark.parametrize(("claims", "labels"), [
    ({"groups": ["/wards/Ward 3", "others"]}, {"hr", "ward-3"}),
    ({"groups": "CN=Pharmacy,OU=Groups,DC=clinic"}, {"pharmacy"}),
    ({"groups": ["/wards/ward 3", "hr", "pharmacy", "CN=Pharmacy"]}, set()),
    ({"groups": [{"name": "/wards/Ward 3"}, ["/wards/Ward 3"], 3, None]}, set()),
    ({"groups": {"/wards/Ward 3": True}}, set()),
    ({"roles": ["/wards/Ward 3"]}, set()),
    ({}, set()),
])  # fmt: skip
def test_groups_of_the_provider_are_access_labels_of_this_session(
    grouped: Callable[..., Site], provider: Provider, claims: dict[str, Any], labels: set[str]
) -> None:
    """Only groups in the setting count, exactly as spelled; a group with the name of a label does not."""
    provider.claims, provider.secret = claims, None
    site = grouped()
    client, reply = sign_in(site)
    assert reply.status_code == 303
    (session,) = sessions_of(site)
    assert set(session.split()) == labels
    shown = client.get("/account").text
    assert [f">{label}</span>" in shown for label in ("hr", "pharmacy", "ward-3")] == [
        label in labels for label in ("hr", "pharmacy", "ward-3")
    ]
    told = [line.resource for line in audit.list_entries(site.ledger) if line.action == "received labels from groups"]
    assert told == ([" ".join(sorted(labels))] if labels else [])


def test_a_user_who_left_a_group_loses_its_label_at_the_next_sign_in(
    grouped: Callable[..., Site], provider: Provider
) -> None:
    """Labels of groups are not stored with the user, so nothing must be removed."""
    provider.claims, provider.secret = {"groups": ["CN=Pharmacy,OU=Groups,DC=clinic"]}, None
    site = grouped()
    sign_in(site)
    provider.claims = {"groups": []}
    sign_in(site)
    assert sessions_of(site) == ["pharmacy", ""]
    assert find_user(site.ledger, "Reviewer One").labels == ()


def test_another_claim_and_more_scopes_are_settings(grouped: Callable[..., Site], provider: Provider) -> None:
    """Providers use different claims for groups, and some need an extra scope."""
    provider.claims, provider.secret = {"roles": ["/wards/Ward 3"], "groups": ["CN=Pharmacy,OU=Groups,DC=clinic"]}, None
    site = grouped(groups_claim="roles", scopes="groups profile")
    client = httpx.Client(base_url=site.url, trust_env=False)
    asked = parse_qs(urlsplit(client.get("/sign-in/oidc").headers["location"]).query)
    assert asked["scope"] == ["openid email groups profile"]
    sign_in(site)
    assert sessions_of(site) == ["hr ward-3"]


@pytest.mark.parametrize("labels", ["Ward 3", "=hr", "Ward 3=HR", "Ward 3=", "Ward 3=h r", "a=hr;b"])
def test_an_invalid_group_mapping_prevents_the_start(settings: Settings, labels: str) -> None:
    """Otherwise a user would get the wrong labels."""
    with pytest.raises(SettingsError, match=r"oidc\.group_labels"):
        create_app(
            changed(settings, oidc={"issuer": "https://login.example", "client_id": "desk", "group_labels": labels})
        )


def sessions_of(site: Site) -> list[str]:
    with site.ledger.read() as connection:
        return list(connection.execute(sa.select(sessions.c.labels).order_by(sessions.c.created_at)).scalars())


def test_signing_in_creates_no_account(site: Site, provider: Provider) -> None:
    """The provider knows the whole organization; only an operator adds users to the desk."""
    provider.subject = "subject-2"
    client, reply = sign_in(site)
    assert reply.status_code == 403
    assert client.get("/account").status_code == 303


def test_a_disabled_user_stays_out(site: Site) -> None:
    """Even if the provider confirms the identity."""
    disable_user(site.ledger, "Reviewer One", now=datetime.now(UTC))
    assert sign_in(site)[1].status_code == 403


@pytest.mark.parametrize(("claims", "status"), [
    ({"email": "Two@clinic.example", "email_verified": True}, 303),
    ({"email": "two@clinic.example", "email_verified": False}, 403),
    ({"email": "two@clinic.example", "email_verified": "true"}, 403),
    ({"email": "two@clinic.example"}, 403),
])  # fmt: skip
def test_an_address_counts_only_if_the_provider_verified_it(
    site: Site, provider: Provider, claims: dict[str, Any], status: int
) -> None:
    """Many providers accept any address without verification."""
    add(site, "Reviewer Two", f"{provider.issuer}|mailto:two@clinic.example")
    provider.subject, provider.claims = "subject-2", claims
    assert sign_in(site)[1].status_code == status


@pytest.mark.parametrize("prefix", ["mailto:", "MAILTO:"])
def test_a_subject_never_counts_as_an_address(site: Site, provider: Provider, prefix: str) -> None:
    """Some providers let people choose their subject: it would sign them in as whoever has that address."""
    add(site, "Reviewer Two", f"{provider.issuer}|mailto:two@clinic.example")
    provider.subject = f"{prefix}two@clinic.example"
    client, reply = sign_in(site)
    assert reply.status_code == 400
    assert client.get("/account").status_code == 303


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another client"},
        {"iss": "http://127.0.0.1:1"},
        {"exp": 1_700_000_000},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"sub": None},
        {"sub": ["subject-1"]},
        {"sub": ""},
        {"aud": ["desk", "other"], "azp": "other"},
    ],
    ids=lambda claims: "-".join(claims),
)
def test_a_token_for_another_client_time_or_sign_in_is_refused(
    site: Site, provider: Provider, claims: dict[str, Any]
) -> None:
    """Its signature is valid."""
    provider.claims = claims
    client, reply = sign_in(site)
    assert reply.status_code == 400
    assert client.get("/account").status_code == 303


def with_shared_secret(claims: dict[str, Any], secret: bytes) -> str:
    """Signed by hand, because the library refuses to."""
    parts = [json.dumps({"alg": "HS256", "kid": "one"}), json.dumps(claims)]
    signed = b".".join(urlsafe_b64encode(part.encode()).rstrip(b"=") for part in parts)
    mac = hmac.new(secret, signed, "sha256").digest()
    return (signed + b"." + urlsafe_b64encode(mac).rstrip(b"=")).decode()


def test_a_token_not_signed_by_the_provider_is_refused(site: Site, provider: Provider) -> None:
    """Signed by another key under the same name, by none, or with the public key as a shared secret."""
    other = RSAKey.generate_key(2048, {"kid": "one"})
    public = provider.key.as_pem(private=False)
    for sign in (
        lambda c: jwt.encode({"alg": "RS256", "kid": "one"}, c, other),
        lambda c: with_shared_secret(c, public),
        lambda c: jwt.encode({"alg": "RS256"}, c, provider.key).rpartition(".")[0] + ".",
    ):
        provider.sign = sign
        assert sign_in(site)[1].status_code == 400


def test_a_new_key_of_the_provider_is_fetched(site: Site, provider: Provider) -> None:
    """Providers rotate their keys without notice."""
    assert sign_in(site)[1].status_code == 303
    provider.key = RSAKey.generate_key(2048, {"kid": "two"})
    assert sign_in(site)[1].status_code == 303


def test_a_callback_of_another_browser_is_refused(site: Site) -> None:
    """Otherwise an attacker could sign a victim in under the attacker's account (login CSRF)."""
    begun = httpx.Client(base_url=site.url, trust_env=False)
    back = begun.get(begun.get("/sign-in/oidc").headers["location"]).headers["location"]
    assert httpx.get(back, trust_env=False).status_code == 400
    other = httpx.Client(base_url=site.url, trust_env=False)
    other.get("/sign-in/oidc")
    assert other.get(back).status_code == 400
    assert begun.get(back).status_code == 303


def test_an_unavailable_provider_is_reported_and_passwords_still_work(site: Site, provider: Provider) -> None:
    """It is shown as an error page, not as an internal error."""
    site.add("Operator One", "operator")
    provider.claims = {}
    visitor = site.visitor()
    state = parse_qs(urlsplit(visitor.get("/sign-in/oidc").headers["location"]).query)["state"][0]
    reply = visitor.get(f"/sign-in/oidc/callback?state={state}&code=unknown")
    assert reply.status_code == 400
    assert "refused" in reply.text
    assert visitor.sign_in("Operator One").status_code == 303
