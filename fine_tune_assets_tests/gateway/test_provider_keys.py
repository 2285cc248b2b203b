"""Bearer tokens whose provider publishes its keys at an address inside the network: a real HTTP(S) server that changes its keys,
is away, takes long or says nonsense. The clock alone is not real, where an hour would have to pass."""

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
from fine_tune_assets.core.oidc import OidcError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.oidc import new_attempt, read_provider
from fine_tune_assets.gateway.app import create_app
from fine_tune_assets.gateway.callers.oidc_tokens import (
    ASK_AGAIN_SECONDS,
    FAILED_SECONDS,
    FRESH_SECONDS,
    KEEP_SECONDS,
    KeySource,
    TokenError,
    TokenVerifier,
)
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.gateway.test_workers import Authority, Issued
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.loopback import serving
from fine_tune_assets_tests.serving.load import wait

ISSUER, AUDIENCE = "https://login.test", "gateway"


def public(*keys: ECKey | RSAKey, **more: Any) -> list[dict[str, Any]]:
    return [{**key.as_dict(private=False), **more} for key in keys]


def key_named(name: str | None) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": name} if name else None)


def token(key: ECKey, name: str | None = None, **claims: Any) -> str:
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-17", "exp": int(time.time()) + 300, "scope": "chat"} | claims
    return jwt.encode({"alg": "ES256"} | ({"kid": name} if name else {}), said, key)


@dataclass
class Provider:
    """What the server says, as the test wants it at the moment."""

    keys: list[Any] = field(default_factory=list)
    answer: tuple[int, dict[str, str], bytes] | None = None
    """In place of the keys."""
    may_answer: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    port: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)

    def reply(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked += 1
        self.may_answer.wait(60)
        said = self.metadata if path.endswith("openid-configuration") else {"keys": self.keys}
        return self.answer or (200, {"content-type": "application/json"}, json.dumps(said).encode())


@contextmanager
def publishing(provider: Provider, certificate: Issued | None = None) -> Iterator[Provider]:
    """On the provider's port if it has one already: so it comes back where it was."""

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
    """A verifier of the provider's keys at an address, with a clock of its own."""

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
    """A gateway that lets tokens in, and an API key of it."""
    named = Settings(data_dir=folder / "data", gateway={"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE})
    settings = changed(named, **changes)
    ledger = fresh_ledger(settings.database_url)
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


def test_keys_at_an_https_address_of_the_hospitals_own_authority_let_tokens_in(
    tmp_path: Path, authority: Authority
) -> None:
    """No public authority signs `login.intranet`. The keys are asked for once, and not for each request."""
    key = key_named("a")
    with publishing(Provider(public(key)), authority.issue("login")) as provider:
        place = f"https://localhost:{provider.port}/certs"
        with gateway(tmp_path, gateway={"oidc_jwks": place}, oidc={"ca": str(authority.certificate)}) as (client, _):
            assert [ask(client, token(key, "a")).status_code for _ in range(5)] == [200] * 5
            assert code(ask(client, token(key, "a", aud="somebody else"))) == (401, "invalid_token")
    assert provider.asked == 1


def test_a_server_that_nobody_vouches_for_is_not_believed(tmp_path: Path, authority: Authority) -> None:
    """Who answers in the provider's place could let anybody in. Keys of the gateway's own go on."""
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
def test_a_gateway_that_could_not_believe_its_provider_does_not_start(tmp_path: Path, changes: dict[str, str]) -> None:
    """Over an open line anybody could put their own keys in; found out at the first request it would be a night call."""
    base = Settings(data_dir=tmp_path, gateway={"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE})
    with pytest.raises(SettingsError, match=r"gateway\.oidc|authority"):
        create_app(changed(base, **changes))


@pytest.fixture
def provider() -> Iterator[Provider]:
    with publishing(Provider()) as made:
        yield made


def test_a_new_key_opens_from_the_next_minute_on_and_one_that_was_taken_away_no_longer(provider: Provider) -> None:
    """Providers change their keys, first beside the old one, then alone."""
    old, new = key_named("a"), key_named("b")
    provider.keys = public(old)
    known = Known(provider)
    assert known.opens(token(old, "a"))
    provider.keys = public(old, new)
    assert not known.opens(token(new, "b"))  # asked within this minute
    known.clock.now += ASK_AGAIN_SECONDS
    assert known.opens(token(new, "b"))
    assert known.opens(token(old, "a"))
    provider.keys = public(new)
    known.clock.now += FRESH_SECONDS + 1
    assert known.opens(token(new, "b"))
    assert not known.opens(token(old, "a"))


def test_a_provider_that_does_not_name_its_keys_may_change_them_too(provider: Provider) -> None:
    """Then only the signature shows that another key is needed."""
    old, new = key_named(None), key_named(None)
    provider.keys = public(old)
    known = Known(provider)
    assert known.opens(token(old))
    provider.keys = public(new)
    known.clock.now += ASK_AGAIN_SECONDS
    assert known.opens(token(new))
    assert not known.opens(token(old))


@pytest.mark.parametrize("is_named", [True, False])
def test_a_flood_of_forged_tokens_is_no_flood_at_the_provider(provider: Provider, is_named: bool) -> None:
    """Anybody can send tokens that name keys which nobody has, or are signed with another."""
    good = key_named("a")
    provider.keys = public(good)
    known = Known(provider)
    assert known.opens(token(good, "a"))
    known.clock.now += ASK_AGAIN_SECONDS
    for number in range(30):
        assert not known.opens(token(key_named("x"), f"k{number}" if is_named else "a"))
        known.clock.now += 1
    assert provider.asked == 2
    assert known.opens(token(good, "a"))


def test_a_provider_that_is_away_is_missed_only_when_its_keys_are_an_hour_old(provider: Provider) -> None:
    """A restart of the sign-in server at the wrong minute must shut nobody out; and nothing opens for ever."""
    key = key_named("a")
    provider.keys = public(key)
    known = Known(provider)
    assert known.opens(token(key, "a"))
    provider.answer = (503, {}, b"")
    for _ in range(int(KEEP_SECONDS // 600)):
        known.clock.now += 599
        assert known.opens(token(key, "a"))
    asked = provider.asked
    assert asked == 1 + 3  # at 2995 s for the third time since they were half an hour old
    known.clock.now += 10
    with pytest.raises(OidcError):
        known.verifier.verify(token(key, "a"), datetime.now(UTC))
    provider.answer = None
    known.clock.now += FAILED_SECONDS
    assert known.opens(token(key, "a"))


def test_a_token_of_a_new_key_while_the_provider_is_away_is_asked_to_come_again(provider: Provider) -> None:
    """It may be a good one: "not valid" would have the application sign in anew, again and again."""
    key = key_named("a")
    provider.keys = public(key)
    known = Known(provider)
    assert known.opens(token(key, "a"))
    provider.answer = (500, {}, b"")
    known.clock.now += ASK_AGAIN_SECONDS
    for _ in range(3):
        with pytest.raises(OidcError):
            known.verifier.verify(token(key_named("b"), "b"), datetime.now(UTC))
        known.clock.now += 2
    assert (provider.asked, known.opens(token(key, "a"))) == (2, True)


def test_a_gateway_starts_without_its_provider_and_lets_tokens_in_when_that_is_back(tmp_path: Path) -> None:
    """After a power cut nobody knows what starts first."""
    key, provider = key_named("a"), Provider()
    with publishing(provider):
        provider.keys = public(key)
    place = f"http://127.0.0.1:{provider.port}/certs"
    with gateway(tmp_path, gateway={"oidc_jwks": place}) as (client, own):
        assert code(ask(client, token(key, "a"))) == (503, "not_available")
        assert ask(client, own).status_code == 200
        with publishing(provider):
            time.sleep(FAILED_SECONDS)
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
def test_what_is_no_set_of_keys_lets_nobody_in(provider: Provider, answer: tuple[int, dict[str, str], bytes]) -> None:
    """A page of a proxy, or an address that leads elsewhere: never an error of ours, never a key."""
    provider.answer = answer
    with pytest.raises(OidcError):
        KeySource(f"http://127.0.0.1:{provider.port}/keys").keys()


def test_keys_that_we_do_not_know_do_not_cost_those_that_we_do(provider: Provider) -> None:
    """A provider that adds a kind of key which this version can't read must not shut everybody out (RFC 7517, section 5)."""
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


def test_a_provider_that_hangs_holds_up_no_api_key(tmp_path: Path, provider: Provider) -> None:
    """Tokens wait for it, ten seconds at most; who has a key does not know that there is a provider."""
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


def test_who_has_keys_does_not_wait_for_whoever_asks_for_newer_ones(provider: Provider) -> None:
    """Each half hour one request asks; if the provider hangs, only that one."""
    key = key_named("a")
    provider.keys = public(key)
    known = Known(provider)
    assert known.opens(token(key, "a"))
    known.clock.now += FRESH_SECONDS + 1
    provider.may_answer.clear()
    asking = threading.Thread(target=known.opens, args=(token(key, "a"),))
    asking.start()
    wait(lambda: provider.asked == 2, 20)
    assert known.opens(token(key, "a"))
    assert asking.is_alive()
    provider.may_answer.set()
    asking.join(20)
    assert provider.asked == 2


def test_the_desk_believes_the_same_authority(authority: Authority) -> None:
    """One setting for both doors; without it the desk does not lead people to a server that nobody vouches for."""
    with publishing(Provider(public(key_named("a"))), authority.issue("login")) as provider:
        issuer = f"https://localhost:{provider.port}"
        provider.metadata = {"issuer": issuer, "authorization_endpoint": f"{issuer}/authorize"}
        provider.metadata |= {"token_endpoint": f"{issuer}/token", "jwks_uri": f"{issuer}/keys"}
        settings = Settings(oidc={"issuer": issuer, "client_id": "desk"})
        for authority_file, is_believed in (("", False), (str(authority.certificate), True)):
            found = read_provider(changed(settings, oidc={"ca": authority_file}))
            assert found is not None
            if is_believed:
                assert found.address(new_attempt(), "https://desk/return").startswith(f"{issuer}/authorize?")
            else:
                with pytest.raises(OidcError):
                    found.address(new_attempt(), "https://desk/return")
        with pytest.raises(SettingsError, match="authority"):
            read_provider(changed(settings, oidc={"ca": "nowhere.pem"}))
