"""What is sent to register and manage a client, and what each answer means (RFC 7591, RFC 7592)."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.core.registration import (
    Management,
    NewClient,
    RegistrationRefused,
    UnreadableReply,
    client_id_of,
    delete_request,
    management_of,
    read_client,
    read_deletion,
    read_document,
    read_request,
    refusal,
    registration_request,
    update_request,
)
from validator.model import Endpoint, HttpReply

URL = "https://idp.test/register"
KNOWN = Management(f"{URL}/c1", "management-canary")
INFORMATION = {
    "client_id": "c1",
    "client_secret": "s3cret",
    "client_id_issued_at": 1_800_000_000,
    "client_secret_expires_at": 0,
    "registration_client_uri": KNOWN.uri,
    "registration_access_token": KNOWN.token,
    "client_name": "Orders",
}


def reply(document: object, status: int = 201) -> HttpReply:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return HttpReply(status, {}, body)


# What is sent


def test_a_registration_names_what_the_client_is_to_be() -> None:
    client = NewClient("Orders", ("client_credentials",), (), ("a", "b"), "client_secret_basic")
    request = registration_request(URL, client, None)
    assert (request.endpoint, request.method, request.url) == (Endpoint.REGISTRATION, "POST", URL)
    assert "Authorization" not in request.headers
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Connection"] == "close"
    assert json.loads(request.body) == {
        "client_name": "Orders",
        "grant_types": ["client_credentials"],
        "response_types": [],
        "redirect_uris": [],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": "a b",
    }


def test_a_client_of_users_answers_with_a_code() -> None:
    client = NewClient("Orders", ("client_credentials", "authorization_code"), ("https://a.test",), (), "x")
    assert client.metadata["response_types"] == ["code"]
    assert "scope" not in client.metadata


def test_tokens_are_shown_where_they_belong() -> None:
    client = NewClient("Orders", ("client_credentials",), (), (), "client_secret_basic")
    assert registration_request(URL, client, "initial").headers["Authorization"] == "Bearer initial"
    for request, method in (
        (read_request(KNOWN), "GET"),
        (delete_request(KNOWN), "DELETE"),
        (update_request(KNOWN, {}), "PUT"),
    ):
        assert (request.method, request.url) == (method, KNOWN.uri)
        assert request.headers["Authorization"] == "Bearer management-canary"
        assert "canary" not in repr(request)
    assert "canary" not in repr(KNOWN)


def test_an_update_leaves_out_what_only_the_server_sets() -> None:
    sent = json.loads(update_request(KNOWN, INFORMATION).body)
    assert sent == {"client_id": "c1", "client_secret": "s3cret", "client_name": "Orders"}


# What comes


def test_a_client_is_read() -> None:
    client = read_client(read_document(reply(INFORMATION), "register"), None)
    assert (client.client_id, client.client_secret) == ("c1", "s3cret")
    assert (client.issued_at, client.expires_at) == (1_800_000_000, 0)
    assert Management.unpacked(client.management) == KNOWN
    assert "s3cret" not in repr(client)
    assert "canary" not in repr(client)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1_900_000_000, 1_900_000_000),
        (1_900_000_000.7, 1_900_000_000),
        ("1900000000", 1_900_000_000),
        ("2026-11-21T00:00:00Z", 0),
        (True, 0),
        (-1, 0),
        (None, 0),
        (10**30, 0),
        ("9" * 500, 0),
        ([1], 0),
        (float("1e999"), 0),
    ],
    ids=repr,
)
def test_times_are_seconds_whatever_they_are_written_as(value: object, seconds: int) -> None:
    client = read_client({**INFORMATION, "client_secret_expires_at": value}, None)
    assert client.expires_at == seconds


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"client_id": None}, "client_id"),
        ({"client_id": ""}, "client_id"),
        ({"client_id": 7}, "client_id"),
        ({"client_id": "a:b"}, "client_id"),
        ({"client_id": ".."}, "client_id"),
        ({"client_id": " a"}, "client_id"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"client_id": "\u00e9"}, "client_id"),
        ({"client_id": "a" * 257}, "client_id"),
        ({"client_secret": None}, "client_secret"),
        ({"client_secret": ""}, "client_secret"),
        ({"client_secret": ["s"]}, "client_secret"),
        ({"client_secret": "a\r\nb"}, "client_secret"),
        ({"client_secret": "a" * 2049}, "client_secret"),
        ({"registration_client_uri": None}, "registration_client_uri"),
        ({"registration_access_token": ""}, "registration_access_token"),
        ({"registration_access_token": "a\r\nX: y"}, "registration_access_token"),
        ({"registration_access_token": "a" * 8193}, "registration_access_token"),
        ({"registration_client_uri": "a" * 2049}, "registration_client_uri"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_client_that_cannot_be_used_is_none(changes: dict[str, Any], member: str) -> None:
    with pytest.raises(RegistrationRefused) as caught:
        read_client({**INFORMATION, **changes}, None)
    assert caught.value.error == "invalid_registration_reply"
    assert member in caught.value.description
    assert "canary" not in caught.value.description


def test_an_id_of_256_characters_and_every_printable_one_fits() -> None:
    for client_id in ("a" * 256, "a b!\"#$%&'()*+,-./;<=>?@[]^_`{|}~"):
        assert client_id_of({"client_id": client_id}) == client_id


def test_what_a_reply_does_not_say_anew_stays_as_it_is_known() -> None:
    assert management_of({}, KNOWN) == KNOWN
    assert management_of({"registration_access_token": "t2"}, KNOWN) == Management(KNOWN.uri, "t2")
    assert management_of({"registration_client_uri": f"{URL}/2"}, KNOWN) == Management(f"{URL}/2", KNOWN.token)
    assert management_of({"registration_access_token": "t2"}) is None


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'"x"', b"\xff", b"{" * 10_000], ids=lambda b: repr(b)[:12])
def test_a_success_without_an_object_is_unreadable(status: int, body: bytes) -> None:
    with pytest.raises(UnreadableReply) as caught:
        read_document(reply(body, status), "register a client")
    assert str(status) in caught.value.description


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (400, {"error": "invalid_client_metadata"}),
        (200, {"error": "invalid_client_metadata", "client_id": "c1"}),
        (302, INFORMATION),
        (202, INFORMATION),
        (401, {}),
        (404, b"not here"),
    ],
    ids=repr,
)
def test_anything_else_is_a_refusal(status: int, document: object) -> None:
    with pytest.raises(RegistrationRefused) as caught:
        read_document(reply(document, status), "register a client")
    assert not isinstance(caught.value, UnreadableReply)
    assert caught.value.description.startswith("asked to register a client, the identity provider answered")


@pytest.mark.parametrize(
    ("status", "error", "code", "advice"),
    [
        (400, "invalid_redirect_uri", "invalid_redirect_uri", "redirect URI"),
        (400, "unapproved_software_statement", "unapproved_software_statement", "software statement"),
        (401, "invalid_token", "invalid_token", "initial_access_token_file"),
        (403, "something_new", "something_new", "rights"),
        (405, None, "registration_refused", "RFC 7592"),
        (418, None, "registration_refused", "its own log"),
        (400, "management-canary", "registration_refused", "its own log"),
        (400, "aGVsbG8tY2FuYXJ5", "registration_refused", "its own log"),
        (400, "a" * 65, "registration_refused", "its own log"),
        (400, {"a": 1}, "registration_refused", "its own log"),
        (400, "invalid_scope\n", "registration_refused", "its own log"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_refusal_tells_what_to_do_and_repeats_nothing(
    status: int, error: object, code: str, advice: str
) -> None:
    told = refusal(reply({"error": error, "error_description": "canary"}, status), "change the client")
    assert told.error == code
    assert advice in told.description
    assert str(status) in told.description
    assert "canary" not in repr(told)


@pytest.mark.parametrize(("status", "there"), [(200, True), (204, True), (401, False), (404, False), (410, False)])
def test_a_deletion_says_whether_there_was_one(status: int, there: bool) -> None:
    assert read_deletion(reply(b"", status)) is there


@pytest.mark.parametrize("status", [201, 202, 301, 400, 403, 405, 409])
def test_a_deletion_that_is_refused_is_no_deletion(status: int) -> None:
    with pytest.raises(RegistrationRefused):
        read_deletion(reply(b"", status))


def test_where_a_refusal_says_nothing_of_the_client_it_is_one() -> None:
    with pytest.raises(RegistrationRefused):
        read_deletion(reply(b"", 401), gone=(404,))


@given(st.binary(max_size=300), st.integers(100, 599))
def test_no_reply_does_anything_else_than_be_read_or_refused(body: bytes, status: int) -> None:
    with suppress(RegistrationRefused):
        assert read_client(read_document(reply(body, status), "register a client"), None).client_secret


@given(
    st.dictionaries(
        st.sampled_from(sorted(INFORMATION)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
            lambda inner: st.lists(inner, max_size=3),
        ),
    )
)
def test_no_member_does_anything_else_than_be_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        client = read_client({**INFORMATION, **changes}, None)
    except RegistrationRefused:
        return
    assert client.client_id == client_id_of({"client_id": client.client_id})
    assert isinstance(Management.unpacked(client.management), Management)
