"""No value and no exception shows a secret that went into it."""

import base64
import traceback
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from canary import BEARER, CONTROL, COOKIE, CORES, KEY, MINTED, RIGHT, WRONG, basic, leaks
from sidecar_process import configuration

from validator.core import jws, oauth, sessions
from validator.core.extract import extract
from validator.errors import AuthError
from validator.model import (
    BearerToken,
    ClientCredentials,
    Endpoint,
    HttpReply,
    HttpRequest,
    SessionCookie,
)
from validator.settings import Settings
from validator.testing import FakeClient, Fault
from validator.wiring import Sidecar


def test_the_search_finds_every_spelling() -> None:
    """A search that finds nothing because it cannot would keep every promise below."""
    secret = RIGHT.secret
    for spelled in (
        secret,
        f"x {secret[:20]}",
        quote(secret),
        repr(secret),
        repr(secret.encode()),
        *(base64.b64encode(b"i" * n + secret.encode()).decode() for n in range(4)),
        *(base64.urlsafe_b64encode(b"i" * n + secret.encode()).decode() for n in range(4)),
        secret.encode().hex(),
    ):
        assert leaks(f"before {spelled} after", [RIGHT.core]), spelled
        assert not leaks(f"before {spelled} after", [WRONG.core])
    assert leaks(b"\x00" + b"\xff\xfe\xfd\xfc", [b"\xff\xfe\xfd"])


def _values() -> Iterator[object]:
    body = f"client_secret={RIGHT.secret}".encode()
    pair = ClientCredentials("orders", RIGHT.secret)
    yield BearerToken(BEARER.plain.encode())
    yield pair
    yield SessionCookie(COOKIE.plain.encode())
    yield HttpRequest(Endpoint.TOKEN, "POST", "https://idp/token", basic("orders", RIGHT.secret), body)
    yield HttpReply(200, {"set-cookie": COOKIE.plain}, MINTED.plain.encode())
    for method in ("client_secret_basic", "client_secret_post"):
        yield oauth.grant_request("https://idp/token", pair, oauth.GrantOptions(method, (), {}))
    yield oauth.MintedToken(MINTED.plain, 60.0)
    yield sessions.KeyRing([KEY])
    yield FakeClient(RIGHT.secret)
    settings = Settings.model_validate(
        configuration("http://127.0.0.1:9", control={"token": CONTROL.plain}, session={"keys": [KEY]})
    )
    yield settings
    yield settings.control
    yield settings.session
    yield settings.model_dump()
    yield settings.model_dump_json()
    yield Sidecar(settings)


@pytest.mark.parametrize("value", list(_values()), ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format], ids=["repr", "str", "format", "nested"])
def test_no_value_shows_a_secret(value: object, show: Callable[[object], str]) -> None:
    assert not leaks(show(value), [*CORES, KEY])
    assert not leaks(show([value, {"x": value}]), [*CORES, KEY])


def _readings() -> Iterator[tuple[str, Callable[[], object]]]:
    token = BEARER.plain.encode()
    seal = sessions.KeyRing([KEY])
    for name, authorization in {
        "two words": b"Bearer a " + token,
        "another scheme": token + b" x",
        "no base64": b"Basic " + token,
        "no colon": b"Basic " + base64.b64encode(RIGHT.core.encode()),
        "no UTF-8": b"Basic " + base64.b64encode(b"\xff:" + RIGHT.secret.encode()),
        "controls": b"Basic " + base64.b64encode(b"orders:\x01" + RIGHT.secret.encode()),
        "no id": b"Basic :" + RIGHT.secret.encode(),
        "too long": b"Bearer " + token * 1000,
    }.items():
        yield name, lambda authorization=authorization: extract(authorization, None, max_token_bytes=1000)
    b64 = base64.urlsafe_b64encode(token).rstrip(b"=")
    for name, jwt in {
        "no parts": token.replace(b".", b""),
        "no JSON": b".".join([b64, b64, b64]),
        "five parts": b".".join([b64] * 5),
        "no base64url": token + b".\xff." + token,
    }.items():
        yield name, lambda jwt=jwt: jws.parse(jwt, max_bytes=16384)
    yield "cookie", lambda: seal.open(COOKIE.plain.encode(), "plain")
    for name, document in {
        "echoed": {"error": "invalid_client", "error_description": RIGHT.secret},
        "no error code": {"error": RIGHT.secret},
        "wrong type": {"access_token": MINTED.plain, "token_type": MINTED.plain},
        "no token": {"access_token": [MINTED.plain]},
    }.items():
        for status in (200, 400, 401, 500):
            reply = Fault.json_reply(document, status=status)
            yield (
                f"{name} {status}",
                lambda reply=reply: oauth.read_grant_reply(
                    HttpReply(reply.status or 0, {}, reply.body), oauth.GrantOptions("client_secret_post")
                ),
            )


@pytest.mark.parametrize("read", [reading for _, reading in _readings()], ids=[name for name, _ in _readings()])
def test_no_exception_says_a_secret(read: Callable[[], object]) -> None:
    """Nor does what it was raised from."""
    told = ""
    try:
        value = read()
    except (AuthError, ValueError) as error:
        told = "".join(traceback.format_exception(error)) + repr(error) + str(error) + repr(error.args)
    else:
        told = repr(value)
    assert told
    assert not leaks(told, [*CORES, KEY])
