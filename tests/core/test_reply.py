"""What a gateway reads is one well-formed HTTP answer, whatever stands in an application's name, and a client is
told no more than its status (RFC 9110, RFC 9457, RFC 6750 section 3, RFC 7617 section 2)."""

import dataclasses
import json
import re

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core import reply
from validator.core.reply import MAX_AGE_S, Rendered
from validator.model import Application, Method, Reason

APPLICATION = Application("a-1", "Orders mobile", "plain", "orders", {})
BOTH = (Method.BEARER, Method.CLIENT_CREDENTIALS)


def allowed(application: Application, method: Method = Method.BEARER) -> Rendered:
    return reply.allowed(reply.facts(application, method))


ALLOWED = allowed(APPLICATION)
STATUSES = (400, 408, 413, 414, 417, 431)


class Parsed:
    """An answer as a strict HTTP parser sees it."""

    def __init__(self, wire: bytes) -> None:
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.complete = 0
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(wire)
        self.status = parser.get_status_code()
        self.version = parser.get_http_version()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode(), value.decode()))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1

    def __getitem__(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) <= 1, f"{name} is sent {len(found)} times"
        return found[0] if found else None


def seen(rendered: Rendered, left_s: float = 0) -> Parsed:
    return Parsed(rendered.wire(left_s))


def test_an_allowed_answer_carries_the_facts_and_nothing_else() -> None:
    answer = seen(ALLOWED, 30)
    assert (answer.status, answer.version, answer.body, answer.complete) == (200, "1.1", b"", 1)
    assert answer.headers == [
        ("Content-Length", "0"),
        ("X-Application-Id", "a-1"),
        ("X-Application-Name", "Orders mobile"),
        ("X-Credential-Identifier", "orders"),
        ("X-Auth-Method", "bearer"),
        ("Cache-Control", "private, max-age=30"),
    ]


@pytest.mark.parametrize("method", list(Method))
def test_the_method_is_named_as_konnect_names_it(method: Method) -> None:
    assert seen(allowed(APPLICATION, method))["X-Auth-Method"] == method.value


def test_a_session_is_named_and_its_cookie_set() -> None:
    cookie = reply.set_cookie("__Host-session", b"sealed")
    answer = seen(
        reply.allowed(
            reply.facts(APPLICATION, Method.SESSION), session=reply.session_line("s-1"), set_cookie=cookie
        )
    )
    assert answer["X-Session-Id"] == "s-1"
    assert answer["Set-Cookie"] == "__Host-session=sealed; Path=/; Secure; HttpOnly; SameSite=Lax"


def test_without_a_session_neither_is_sent() -> None:
    assert seen(ALLOWED)["X-Session-Id"] is None
    assert seen(ALLOWED)["Set-Cookie"] is None


INJECTIONS = {
    "line-feed": "a\nX-Admin: 1",
    "carriage-return": "a\rX-Admin: 1",
    "both": "a\r\nX-Admin: 1",
    "an-empty-line": "a\r\n\r\nHTTP/1.1 200 OK",
    "nul": "a\0b",
    "tab": "a\tb",
    "escape": "a\x1b[2J",
    "delete": "a\x7fb",
    "lone-surrogate": "a\ud800",
}


@pytest.mark.parametrize("field", ["id", "name", "client_id"])
@pytest.mark.parametrize("text", INJECTIONS.values(), ids=INJECTIONS)
def test_no_fact_of_an_application_breaks_out_of_its_header(text: str, field: str) -> None:
    with pytest.raises(ValueError, match=r"control character|surrogates"):
        allowed(dataclasses.replace(APPLICATION, **{field: text}))


@pytest.mark.parametrize("text", INJECTIONS.values(), ids=INJECTIONS)
def test_no_session_id_breaks_out_of_its_header(text: str) -> None:
    with pytest.raises(ValueError, match=r"control character|surrogates"):
        reply.session_line(text)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
@settings(deadline=None, max_examples=300)
def test_any_facts_are_refused_or_arrive_as_they_are(identifier: str, name: str, client_id: str) -> None:
    application = Application(identifier, name, "plain", client_id, {})
    try:
        rendered = allowed(application)
    except ValueError:
        return
    wire = rendered.wire(0)
    assert wire.endswith(b"\r\n\r\n")
    lines = wire.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert lines[2:5] == [
        b"X-Application-Id: " + identifier.encode(),
        b"X-Application-Name: " + name.encode(),
        b"X-Credential-Identifier: " + client_id.encode(),
    ]
    assert len(lines) == 7


def test_a_name_that_is_not_ascii_travels_as_utf_8() -> None:
    assert seen(allowed(dataclasses.replace(APPLICATION, name="Größe 密")))["X-Application-Name"] == "Größe 密"


@pytest.mark.parametrize(
    ("left_s", "value"),
    [
        (float("-inf"), "no-store"),
        (-1, "no-store"),
        (0, "no-store"),
        (0.001, "no-store"),
        (0.999, "no-store"),
        (1, "private, max-age=1"),
        (1.999, "private, max-age=1"),
        (2, "private, max-age=2"),
        (29.999, "private, max-age=29"),
        (30, "private, max-age=30"),
        (MAX_AGE_S - 0.001, f"private, max-age={MAX_AGE_S - 1}"),
        (MAX_AGE_S, f"private, max-age={MAX_AGE_S}"),
        (MAX_AGE_S + 1, f"private, max-age={MAX_AGE_S}"),
        (1e300, f"private, max-age={MAX_AGE_S}"),
        (float("inf"), f"private, max-age={MAX_AGE_S}"),
        (float("nan"), "no-store"),
    ],
)
def test_a_gateway_may_reuse_an_answer_for_the_whole_seconds_that_are_left(left_s: float, value: str) -> None:
    assert seen(ALLOWED, left_s)["Cache-Control"] == value
    assert seen(reply.refused(Reason.NOT_REGISTERED), left_s)["Cache-Control"] == value


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_status_and_its_problem(reason: Reason) -> None:
    answer = seen(reply.refused(reason))
    problem = json.loads(answer.body)
    assert (answer.status, answer.complete) == (reason.status, 1)
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Content-Length"] == str(len(answer.body))
    assert set(problem) == {"type", "title", "status", "detail", "reason"}
    assert (problem["type"], problem["status"], problem["reason"]) == ("about:blank", reason.status, reason.value)


@pytest.mark.parametrize("status", sorted({reason.status for reason in Reason}))
def test_a_client_is_told_in_words_no_more_than_its_status(status: int) -> None:
    told = {
        (problem["title"], problem["detail"])
        for reason in Reason
        if reason.status == status
        for problem in [json.loads(seen(reply.refused(reason)).body)]
    }
    assert len(told) == 1


@pytest.mark.parametrize("status", STATUSES)
def test_what_is_no_request_is_answered_without_a_reason(status: int) -> None:
    answer = seen(reply.bad_request(status))
    assert answer.status == status
    assert answer["Cache-Control"] == "no-store"
    assert answer["WWW-Authenticate"] is None
    assert "reason" not in json.loads(answer.body)


EVERY_ANSWER = [ALLOWED, *map(reply.refused, Reason), *map(reply.bad_request, STATUSES)]


@pytest.mark.parametrize("rendered", EVERY_ANSWER, ids=lambda r: r.head.split(b"\r\n")[0].decode())
def test_head_answers_with_the_same_headers_and_no_body(rendered: Rendered) -> None:
    """RFC 9110 section 9.3.2: also the same Content-Length."""
    whole, head = rendered.wire(5), rendered.wire(5, without_body=True)
    assert head == whole.removesuffix(rendered.rest) + b"\r\n\r\n"
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize("option", [b"close", b"keep-alive"])
def test_the_connection_option_is_one_more_header(option: bytes) -> None:
    answer = Parsed(ALLOWED.wire(5, connection=option))
    assert answer["Connection"] == option.decode()
    assert answer["Cache-Control"] == "private, max-age=5"
    assert seen(ALLOWED, 5)["Connection"] is None


@pytest.mark.parametrize(
    ("wait_s", "value"),
    [(None, None), (0, "1"), (0.001, "1"), (1, "1"), (1.001, "2"), (29.5, "30"), (30, "30"), (-5, "1")],
)
def test_retry_after_is_in_whole_seconds_never_too_few(wait_s: float | None, value: str | None) -> None:
    assert seen(reply.refused(Reason.IDP_UNAVAILABLE, retry_after_s=wait_s))["Retry-After"] == value


BEARER, BASIC = 'Bearer realm="plain"', 'Basic realm="plain", charset="UTF-8"'
CHALLENGES = {
    "no-credential": (BOTH, Reason.NO_CREDENTIAL, None, f"{BEARER}, {BASIC}"),
    "no-credential-bearer-alone": ((Method.BEARER,), Reason.NO_CREDENTIAL, None, BEARER),
    "no-credential-basic-alone": ((Method.CLIENT_CREDENTIALS,), Reason.NO_CREDENTIAL, None, BASIC),
    "no-credential-session-alone": ((Method.SESSION,), Reason.NO_CREDENTIAL, None, ""),
    "nothing-is-on": ((), Reason.NO_CREDENTIAL, None, ""),
    "an-expired-token": (
        BOTH, Reason.TOKEN_EXPIRED, Method.BEARER, f'{BEARER}, error="invalid_token", {BASIC}',
    ),
    "a-forged-token": (
        (Method.BEARER,), Reason.SIGNATURE_INVALID, Method.BEARER, f'{BEARER}, error="invalid_token"',
    ),
    "a-scope-is-missing": (
        (Method.BEARER,), Reason.SCOPE_MISSING, Method.BEARER, f'{BEARER}, error="insufficient_scope"',
    ),
    "an-unreadable-header": (
        BOTH, Reason.MALFORMED_CREDENTIAL, None, f'{BEARER}, error="invalid_request", {BASIC}',
    ),
    "two-headers": (BOTH, Reason.MULTIPLE_CREDENTIALS, None, f'{BEARER}, error="invalid_request", {BASIC}'),
    "a-wrong-secret": (BOTH, Reason.CREDENTIALS_REJECTED, Method.CLIENT_CREDENTIALS, f"{BEARER}, {BASIC}"),
    "a-revoked-pair": (BOTH, Reason.REVOKED, Method.CLIENT_CREDENTIALS, f"{BEARER}, {BASIC}"),
    "a-broken-session": (BOTH, Reason.SESSION_INVALID, Method.SESSION, f"{BEARER}, {BASIC}"),
    "a-revoked-session": (BOTH, Reason.REVOKED, Method.SESSION, f"{BEARER}, {BASIC}"),
    "a-token-where-only-basic-is-on": (
        (Method.CLIENT_CREDENTIALS,), Reason.METHOD_NOT_ENABLED, Method.BEARER, BASIC,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("methods", "reason", "presented", "value"), CHALLENGES.values(), ids=CHALLENGES)
def test_the_challenge_names_what_is_on_and_an_error_only_for_a_token(
    methods: tuple[Method, ...], reason: Reason, presented: Method | None, value: str
) -> None:
    assert reply.challenge(methods, "plain", reason, presented) == value.encode()


def test_a_challenge_is_sent_where_there_is_one() -> None:
    challenge = reply.challenge(BOTH, "plain", Reason.NO_CREDENTIAL, None)
    assert seen(reply.refused(Reason.NO_CREDENTIAL, challenge=challenge))["WWW-Authenticate"] == challenge.decode()
    assert seen(reply.refused(Reason.NO_CREDENTIAL))["WWW-Authenticate"] is None


@pytest.mark.parametrize("strategy", ['pl"ain', "pl\\ain", 'plain", error="x'])
def test_no_name_breaks_out_of_its_quotes(strategy: str) -> None:
    value = reply.challenge((Method.BEARER,), strategy, Reason.NO_CREDENTIAL, None).decode()
    assert re.fullmatch(r'Bearer realm="[^"\\]*"', value)


@pytest.mark.parametrize("reason", [r for r in Reason if r.oauth_error])
def test_every_oauth_error_is_one_of_the_rfc_and_goes_with_its_status(reason: Reason) -> None:
    """RFC 6750 section 3.1; ``invalid_request`` is a 401 here: gateways take no 400 from an authorizer."""
    statuses = {"invalid_request": 401, "invalid_token": 401, "insufficient_scope": 403}
    assert reason.status == statuses[reason.oauth_error]
