"""The two pages of a sign-in by OIDC: on the way to the provider, and back.

Owns the cookie in between (sealed, for ten minutes, in this browser only) and that nobody gets an account by signing in:
the identity must belong to a user whom an operator made.
"""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from starlette.responses import RedirectResponse, Response

from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import PageError, not_found
from fine_tune_assets.desk.oidc import RETURN_PATH, Attempt, OidcError, Provider, new_attempt
from fine_tune_assets.desk.sign_in_pages import let_in, safe_path
from fine_tune_assets.desk.visits import Visit
from fine_tune_assets.ledger.encryption import decrypt, encrypt
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.users import find_by_identity

_COOKIE = "oidc"
_BOUND_TO = "desk sign-in by OIDC"
_LIFE_SECONDS = 600


def go_to_provider(desk: Desk, visit: Visit) -> Response:
    provider, attempt = _provider(desk), new_attempt()
    try:
        response = RedirectResponse(provider.address(attempt, _return_to(desk)), status_code=303)
    except OidcError as error:
        raise PageError(502, "Sign-in failed", str(error)) from None
    kept = json.dumps({**vars(attempt), "next": safe_path(visit.query("next")), "at": visit.now.timestamp()})
    sealed = urlsafe_b64encode(encrypt(desk.sign_in_key, kept, _BOUND_TO)).decode()
    desk.addresses.set_cookie(response, _COOKIE, sealed, _LIFE_SECONDS)
    return response


def come_back(desk: Desk, visit: Visit) -> Response:
    """Let in whom the provider vouches for, if an operator made them a user."""
    provider = _provider(desk)
    attempt, next_path = _kept(desk, visit)
    if not hmac.compare_digest(visit.query("state").encode(), attempt.state.encode()) or not visit.query("code"):
        raise _failed("The provider did not sign you in, or the answer is not the one that was asked for.")
    try:
        person = provider.person(attempt, visit.query("code"), _return_to(desk))
        user = find_by_identity(desk.ledger, person.identities)
    except OidcError as error:
        raise _failed(str(error)) from None
    if user is None:
        raise PageError(403, "No account", "You are known to the provider, and not to the desk. Ask an operator.")
    response = let_in(desk, visit, user, next_path or "/", how="by OIDC", labels=person.labels)
    desk.addresses.delete_cookie(response, _COOKIE)
    return response


def _kept(desk: Desk, visit: Visit) -> tuple[Attempt, str]:
    try:
        sealed = urlsafe_b64decode(visit.request.cookies.get(desk.addresses.cookie(_COOKIE), ""))
        kept = json.loads(decrypt(desk.sign_in_key, sealed, _BOUND_TO))
    except (LedgerError, ValueError):
        raise _failed("It was begun in another browser, or too long ago.") from None
    if visit.now.timestamp() - kept["at"] > _LIFE_SECONDS:
        raise _failed("It was begun too long ago.")
    return Attempt(kept["state"], kept["nonce"], kept["verifier"]), kept["next"]


def _provider(desk: Desk) -> Provider:
    if desk.provider is None:
        raise not_found()
    return desk.provider


def _return_to(desk: Desk) -> str:
    return desk.addresses.public + RETURN_PATH


def _failed(message: str) -> PageError:
    return PageError(400, "Sign-in failed", f"{message} Go to the start and try again.")
