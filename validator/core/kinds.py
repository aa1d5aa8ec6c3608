"""Whether a genuine token is an application's access token, or some other thing that its issuer signs.

Law of this file: one issuer signs many kinds of token with the same keys, and people and applications may share
one namespace; everything that tells them apart lives here (RFC 8725 section 3.12, RFC 9068 section 5, RFC 7800).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from validator.core.jws import Jws
from validator.errors import Denied
from validator.model import Reason

# Members in which providers say what a token is: Keycloak, RFC 7662, Cognito and Hydra, Curity, ForgeRock.
_KIND_MEMBERS: Final = ("typ", "token_type", "token_use", "purpose", "tokenName")
_OTHER_KINDS: Final = frozenset(
    {
        "id", "id_token", "refresh", "refresh_token", "offline", "offline_token", "logout", "logout_token",
        "logout+jwt",
    }
)  # fmt: skip
_ACCESS_KINDS: Final = frozenset({"access", "access_token", "bearer", "at+jwt", "jwt"})
_OWN_WORDS: Final = frozenset({*_KIND_MEMBERS, "events"})
_CLOSED_MEMBERS: Final = frozenset({"token_type", "token_use"})  # these say nothing but the kind
# Claims that OpenID Connect Core puts into ID tokens alone (sections 2, 3.1.3.6, 3.3.2.11).
_ID_TOKEN_CLAIMS: Final[tuple[str, ...]] = ("at_hash", "c_hash", "s_hash")
# What access tokens have and ID tokens do not; azpacr is Entra's, whose app-only tokens have no scope.
_ACCESS_TOKEN_CLAIMS: Final = frozenset({"scope", "scp", "client_id", "azpacr"})
# How the user proved to be who they are, and who that is (OpenID Connect Core sections 2 and 5.1).
_USER_CLAIMS: Final = frozenset({"auth_time", "acr", "amr", "email", "email_verified"})
# With these beside it, `sub` is a person: nobody signs in, and nobody has a name, in the client credentials grant.
_PERSON_CLAIMS: Final = _USER_CLAIMS | {
    "name", "given_name", "family_name", "preferred_username", "nonce", "uid", "upn", "user_name", "username",
}  # fmt: skip
_CLIENT_MEMBERS: Final = ("client_id", "azp", "cid", "appid")
_GRANT_MEMBERS: Final = ("gty", "grant_type")
_APPLICATIONS_GRANT: Final = frozenset({"client_credentials", "client-credentials"})


def _wrong(detail: str) -> Denied:
    return Denied(Reason.TOKEN_TYPE_WRONG, detail)


def _own_words(payload: Mapping[str, Any]) -> list[str]:
    """Where the token says of itself that it is no access token."""
    if _OWN_WORDS.isdisjoint(payload):
        return []
    found = [name for name in _KIND_MEMBERS if _says_other(name, payload.get(name))]
    if "events" in payload:  # RFC 8417: an event, such as a logout, is told to a receiver
        found.append("events")
    return found


def _says_other(name: str, value: object) -> bool:
    if not isinstance(value, str):
        return False
    kind = value.lower().removeprefix("application/")
    return kind in _OTHER_KINDS or (name in _CLOSED_MEMBERS and kind not in _ACCESS_KINDS)


def _audiences(payload: Mapping[str, Any]) -> frozenset[str]:
    aud = payload.get("aud") or ()
    return frozenset({aud} if isinstance(aud, str) else aud)


def check_access_token(jws: Jws, client_id: str, audiences: frozenset[str]) -> None:
    """An ID token tells a client who its user is, and is never an access token; a refresh token is for the issuer
    alone. One that is for a configured audience other than the client itself is for an API.

    Raises:
        Denied: ``token_type_wrong``.
    """
    payload = jws.payload
    if (jws.typ or "").lower().removeprefix("application/") == "at+jwt":
        return
    if words := _own_words(payload):
        raise _wrong(f"an ID token or the like, by its own word in {', '.join(words)}; send the access token")
    is_bearer = payload.get("typ") == "Bearer"
    marks = [name for name in _ID_TOKEN_CLAIMS if name in payload]
    if "nonce" in payload and not is_bearer:
        marks.append("nonce")
    if "azp" in payload and not is_bearer and not _ACCESS_TOKEN_CLAIMS & payload.keys():
        found = _audiences(payload)
        if client_id in found and not (audiences & found) - {client_id}:
            marks.append("aud is the client itself")
        marks += sorted(_USER_CLAIMS & payload.keys())
    if marks:
        raise _wrong(f"an ID token, by {', '.join(marks)}; send the access token")


def check_introspected(payload: Mapping[str, Any], client_id: str) -> None:
    """An endpoint may call a refresh token active as well. Those are people's (RFC 6749 section 4.4.3), so that an
    answer about a person has to say that it is about an access token.

    Raises:
        Denied: ``token_type_wrong``.
    """
    words = [*_own_words(payload), *(name for name in _ID_TOKEN_CLAIMS if name in payload)]
    if words:
        raise _wrong(f"no access token, by the issuer's word in {', '.join(words)}")
    says_access = any(
        isinstance(value := payload.get(name), str) and value.lower() in _ACCESS_KINDS for name in _KIND_MEMBERS
    )
    if not says_access and payload.get("sub", client_id) != client_id:
        raise _wrong("the issuer does not say that it is an access token and no refresh token (token_type)")


def check_subject(
    payload: Mapping[str, Any],
    subject: str,
    scopes: Iterable[str],
    *,
    audiences: frozenset[str],
    people: bool,
    user_scopes: bool,
) -> None:
    """`sub` is the application in its own tokens only; in a user's token it is the user, who may have chosen the
    name of an application.

    Args:
        audiences: those configured.
        people: whether people sign in at this issuer.
        user_scopes: whether client credentials may come by the scope ``openid``.

    Raises:
        Denied: ``token_type_wrong``.
    """
    marks = sorted(_PERSON_CLAIMS & payload.keys())
    marks += [name for name in _CLIENT_MEMBERS if payload.get(name, subject) != subject]
    marks += [
        name for name in _GRANT_MEMBERS if str(payload.get(name, "client_credentials")) not in _APPLICATIONS_GRANT
    ]
    if not user_scopes and "openid" in scopes:
        marks.append("the scope openid")
    # A token that was asked for no API is for its own client; beside another client's name, sub is somebody else.
    if people and not audiences and payload.get("aud") is not None and subject not in _audiences(payload):
        marks.append("aud, which does not name it; configure audience if that is an API")
    if marks:
        raise _wrong(f"sub names a user, not an application: the token has {', '.join(marks)}")


def check_not_bound(payload: Mapping[str, Any]) -> None:
    """A token bound to its holder's key (RFC 7800) proves nothing in other hands, and we are shown no key: RFC
    9449 section 7.2 forbids to take it for a bearer token.

    Raises:
        Denied: ``token_type_wrong``.
    """
    confirmation = payload.get("cnf")
    if confirmation is not None:
        names = ", ".join(sorted(confirmation))[:80] if isinstance(confirmation, dict) else "cnf"
        raise _wrong(f"the token is bound to a key ({names!r}), which is not checked here")
