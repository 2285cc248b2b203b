"""Bearer tokens whose provider publishes its keys at a URL: a real HTTP(S) server that rotates keys, is down, hangs or sends
invalid responses. Only the clock is fake where an hour would have to pass."""

import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.testclient import TestClient

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.oidc_provider import OidcError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.oidc_sign_in import make_attempt, read_provider
from fine_tune_assets.gateway.callers.oidc_tokens import (
    FAILURE_BACKOFF_SECONDS,
    MAX_AGE_SECONDS,
    REFRESH_AFTER_SECONDS,
    REFRESH_INTERVAL_SECONDS,
    KeySource,
    TokenError,
    TokenVerifier,
)
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.gateway.certificates import Authority, Issued
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import serving
from fine_tune_assets_tests.serving.load import wait

ISSUER, AUDIENCE = "https://login.test", "gateway"


def public(*keys: ECKey | RSAKey, **more: Any) -> list[dict[str, Any]]:
    return [{**key.as_dict(private=False), **more} for key in keys]


def key_named(name: str | None) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": name} if name else None)


def token(key: ECKey, name: str | None = None, **claims: Any) -> str:
    payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-17", "exp": int(time.time()) + 300, "scope": "chat"} | claims
    return jwt.encode({"alg": "ES256"} | ({"kid": name} if name else {}), payload, key)


@dataclass
class Provider:
    """The state of the fake provider."""

    keys: list[Any] = field(default_factory=list)
    answer: tuple[int, dict[str, str], bytes] | None = None
    """Sent instead of the keys."""
    may_answer: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    port: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)

    def reply(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked += 1
        self.may_answer.wait(60)
        content = self.metadata if path.endswith("openid-configuration") else {"keys": self.keys}
        return self.answer or (200, {"content-type": "application/json"}, json.dumps(content).encode())


@contextmanager
def publishing(provider: Provider, certificate: Issued | None = None) -> Iterator[Provider]:
    """Serve on the provider's earlier port, if it had one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = provider.reply(self.path)
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", provider.port), Handler)
    server.daemon_threads = True
    provider.port = server.server_address[1]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    provider.may_answer.set()
    with serving(server):
        try:
            yield provider
        finally:
            provider.may_answer.set()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Known:
    """A verifier for the provider's keys, with a fake clock."""

    provider: Provider
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        source = KeySource(f"http://127.0.0.1:{self.provider.port}/keys", clock=self.clock)
        self.verifier = TokenVerifier(ISSUER, AUDIENCE, source, "scope", None)

    def opens(self, presented: str) -> bool:
        try:
            return self.verifier.verify(presented, datetime.now(UTC)).subject == "u-17"
        except TokenError:
            return False


@contextmanager
def gateway(folder: Path, **changes: Any) -> Iterator[tuple[TestClient, str]]:
    """A gateway that accepts tokens, and one of its API keys."""
    named = Settings(data_dir=folder / "data", gateway={"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE})
    settings = changed(named, **changes)
    ledger = fresh_ledger(settings)
    key = create_key(ledger, uuid.uuid4().hex, ["chat"]).secret
    with TestClient(create_app(settings)) as client:
        yield client, key
    ledger.close()


def ask(client: TestClient, bearer: str) -> httpx.Response:
    return client.get("/openapi.json", headers={"Authorization": f"Bearer {bearer}"})


def code(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "hospital")


def test_tokens_are_accepted_with_keys_from_a_server_with_a_private_ca(tmp_path: Path, authority: Authority) -> None:
    """No public CA signs `login.intranet`. The keys are fetched once, not per request."""
    key = key_named("a")
    with publishing(Provider(public(key)), authority.issue("login")) as provider:
        place = f"https://localhost:{provider.port}/certs"
        with gateway(tmp_path, gateway={"oidc_jwks": place}, oidc={"ca": str(authority.certificate)}) as (client, _):
            assert [ask(client, token(key, "a")).status_code for _ in range(5)] == [200] * 5
            assert code(ask(client, token(key, "a", aud="somebody else"))) == (401, "invalid_token")
    assert provider.asked == 1


def test_keys_from_a_server_with_an_untrusted_certificate_are_refused(tmp_path: Path, authority: Authority) -> None:
    """An impostor could publish its own keys. API keys still work."""
    key = key_named("a")
    with publishing(Provider(public(key)), authority.issue("login")) as provider:
        place = f"https://localhost:{provider.port}/certs"
        for more in ({}, {"oidc": {"ca": str(Authority(tmp_path, "another").certificate)}}):
            with gateway(tmp_path, gateway={"oidc_jwks": place}, **more) as (client, own):
                reply = ask(client, token(key, "a"))
                assert (code(reply), reply.headers["retry-after"]) == ((503, "not_available"), "5")
                assert ask(client, own).status_code == 200
    assert provider.asked == 0


@pytest.mark.parametrize("changes", [
    {"gateway": {"oidc_jwks": "http://login.intranet/certs"}},
    {"gateway": {"oidc_jwks": "ftp://127.0.0.1/certs"}},
    {"gateway": {"oidc_jwks": "https://login.intranet/certs"}, "oidc": {"ca": "nowhere.pem"}},
    {"gateway": {"oidc_jwks": "https://login.intranet/certs"}, "oidc": {"ca": __file__}},
    {"gateway": {"oidc_jwks": ""}},
])  # fmt: skip
def test_a_gateway_without_a_secure_provider_url_does_not_start(tmp_path: Path, changes: dict[str, str]) -> None:
    """Without TLS anyone on the network could replace the keys. The error comes at the start, not at the first request."""
    base = Settings(data_dir=tmp_path, gateway={"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE})
    with pytest.raises(SettingsError, match=r"gateway\.oidc_jwks"):
        create_app(changed(base, **changes))


@pytest.fixture
def provider() -> Iterator[Provider]:
    with publishing(Provider()) as made:
        yield made


def test_a_new_key_is_accepted_within_a_minute_and_a_removed_one_is_refused(provider: Provider) -> None:
    """Providers rotate keys: first both are published, then only the new one."""
    old, new = key_named("a"), key_named("b")
    provider.keys = public(old)
    known = Known(provider)
    assert known.opens(token(old, "a"))
    provider.keys = public(old, new)
    assert not known.opens(token(new, "b"))  # refreshed within this minute already
    known.clock.now += REFRESH_INTERVAL_SECONDS
    assert known.opens(token(new, "b"))
    assert known.opens(token(old, "a"))
    provider.keys = public(new)
    known.clock.now += REFRESH_AFTER_SECONDS + 1
    assert known.opens(token(new, "b"))
    assert not known.opens(token(old, "a"))


def test_keys_without_ids_can_be_rotated_too(provider: Provider) -> None:
    """Only the signature shows that a refresh is needed."""
    old, new = key_named(None), key_named(None)
    provider.keys = public(old)
    known = Known(provider)
    assert known.opens(token(old))
    provider.keys = public(new)
    known.clock.now += REFRESH_INTERVAL_SECONDS
    assert known.opens(token(new))
    assert not known.opens(token(old))


@pytest.mark.parametrize("is_named", [True, False])
def test_a_flood_of_forged_tokens_does_not_reach_the_provider(provider: Provider, is_named: bool) -> None:
    """Anyone can send tokens with unknown key ids or wrong signatures."""
    good = key_named("a")
    provider.keys = public(good)
    known = Known(provider)
    assert known.opens(token(good, "a"))
    known.clock.now += REFRESH_INTERVAL_SECONDS
    for number in range(30):
        assert not known.opens(token(key_named("x"), f"k{number}" if is_named else "a"))
        known.clock.now += 1
    assert provider.asked == 2
    assert known.opens(token(good, "a"))


def test_keys_of_an_unreachable_provider_are_used_for_an_hour(provider: Provider) -> None:
    """A restart of the sign-in server must lock out no one, but keys must expire."""
    key = key_named("a")
    provider.keys = public(key)
    known = Known(provider)
    assert known.opens(token(key, "a"))
    provider.answer = (503, {}, b"")
    for _ in range(int(MAX_AGE_SECONDS // 600)):
        known.clock.now += 599
        assert known.opens(token(key, "a"))
    asked = provider.asked
    assert asked == 1 + 3  # refresh attempts at 2396 s, 2995 s and 3594 s
    known.clock.now += 10
    with pytest.raises(OidcError):
        known.verifier.verify(token(key, "a"), datetime.now(UTC))
    provider.answer = None
    known.clock.now += FAILURE_BACKOFF_SECONDS
    assert known.opens(token(key, "a"))


def test_a_token_with_an_unknown_key_gets_503_while_the_provider_is_down(provider: Provider) -> None:
    """It may be valid: with 401 the application would sign in again and again."""
    key = key_named("a")
    provider.keys = public(key)
    known = Known(provider)
    assert known.opens(token(key, "a"))
    provider.answer = (500, {}, b"")
    known.clock.now += REFRESH_INTERVAL_SECONDS
    for _ in range(3):
        with pytest.raises(OidcError):
            known.verifier.verify(token(key_named("b"), "b"), datetime.now(UTC))
        known.clock.now += 2
    assert (provider.asked, known.opens(token(key, "a"))) == (2, True)


def test_a_gateway_starts_without_its_provider_and_accepts_tokens_once_it_is_up(tmp_path: Path) -> None:
    """After a power failure the order of starts is not defined."""
    key, provider = key_named("a"), Provider()
    with publishing(provider):
        provider.keys = public(key)
    place = f"http://127.0.0.1:{provider.port}/certs"
    with gateway(tmp_path, gateway={"oidc_jwks": place}) as (client, own):
        assert code(ask(client, token(key, "a"))) == (503, "not_available")
        assert ask(client, own).status_code == 200
        with publishing(provider):
            time.sleep(FAILURE_BACKOFF_SECONDS)
            assert ask(client, token(key, "a")).status_code == 200
        assert ask(client, token(key, "a")).status_code == 200


@pytest.mark.parametrize("answer", [
    (200, {}, b"<html>Maintenance</html>"),
    (200, {}, b"[]"),
    (200, {}, b'{"keys": {}}'),
    (200, {}, b'{"keys": []}'),
    (200, {}, b'{"keys": ["a", null, {}]}'),
    (302, {"location": "/elsewhere"}, b""),
    (404, {}, b"{}"),
], ids=str)  # fmt: skip
def test_an_invalid_key_set_is_refused(provider: Provider, answer: tuple[int, dict[str, str], bytes]) -> None:
    """Such as a proxy's error page or a redirect."""
    provider.answer = answer
    with pytest.raises(OidcError):
        KeySource(f"http://127.0.0.1:{provider.port}/keys").keys()


def test_unsupported_keys_are_skipped(provider: Provider) -> None:
    """A key type that this version does not support must not lock out everyone (RFC 7517, section 5)."""
    key = key_named("a")
    strange: list[Any] = [
        {"kty": "EC", "kid": "s1", "crv": "BP-256", "x": "AA", "y": "AA"},
        {"kty": "AKP", "kid": "s2", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "RSA", "kid": "s3", "n": "AA"},
        {"kty": "oct", "kid": "s4", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
        *public(RSAKey.generate_key(2048, {"kid": "s5"}), use="enc"),
        "no key",
    ]
    provider.keys = [*strange, *public(key)]
    known = Known(provider)
    assert known.opens(token(key, "a"))
    for number in range(1, 6):
        assert not known.opens(token(key, f"s{number}"))


def test_a_hung_provider_does_not_delay_api_keys(tmp_path: Path, provider: Provider) -> None:
    """Only tokens wait for the provider, at most ten seconds."""
    key = key_named("a")
    provider.keys = public(key)
    provider.may_answer.clear()
    with gateway(tmp_path, gateway={"oidc_jwks": f"http://127.0.0.1:{provider.port}/certs"}) as (client, own):
        assert ask(client, own).status_code == 200
        with ThreadPoolExecutor(60) as callers:
            waiting = [callers.submit(ask, client, token(key, "a")) for _ in range(60)]
            wait(lambda: provider.asked == 1, 20)
            assert ask(client, own).status_code == 200
            assert not any(one.done() for one in waiting)
            provider.may_answer.set()
            assert {one.result().status_code for one in waiting} == {200}
    assert provider.asked == 1


def test_a_refresh_does_not_block_other_requests(provider: Provider) -> None:
    """If the provider hangs during a refresh, only the refreshing request waits."""
    key = key_named("a")
    provider.keys = public(key)
    known = Known(provider)
    assert known.opens(token(key, "a"))
    known.clock.now += REFRESH_AFTER_SECONDS + 1
    provider.may_answer.clear()
    asking = threading.Thread(target=known.opens, args=(token(key, "a"),))
    asking.start()
    wait(lambda: provider.asked == 2, 20)
    assert known.opens(token(key, "a"))
    assert asking.is_alive()
    provider.may_answer.set()
    asking.join(20)
    assert provider.asked == 2


def test_the_desk_trusts_the_same_ca(authority: Authority) -> None:
    """One setting for both services. Without it the desk does not send users to a server with an untrusted certificate."""
    with publishing(Provider(public(key_named("a"))), authority.issue("login")) as provider:
        issuer = f"https://localhost:{provider.port}"
        provider.metadata = {"issuer": issuer, "authorization_endpoint": f"{issuer}/authorize"}
        provider.metadata |= {"token_endpoint": f"{issuer}/token", "jwks_uri": f"{issuer}/keys"}
        settings = Settings(oidc={"issuer": issuer, "client_id": "desk"})
        for authority_file, is_believed in (("", False), (str(authority.certificate), True)):
            found = read_provider(changed(settings, oidc={"ca": authority_file}))
            assert found is not None
            if is_believed:
                assert found.make_authorization_url(make_attempt(), "https://desk/return").startswith(
                    f"{issuer}/authorize?"
                )
            else:
                with pytest.raises(OidcError):
                    found.make_authorization_url(make_attempt(), "https://desk/return")
        with pytest.raises(SettingsError, match=r"nowhere\.pem"):
            read_provider(changed(settings, oidc={"ca": "nowhere.pem"}))
