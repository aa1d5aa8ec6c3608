"""What ids, names and groups may consist of, whether they come through the control plane or from elsewhere."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from validator.core.changes import ApplicationChange, RevocationChange, change, content
from validator.core.naming import MAX_GROUP_CHARS, check_application, check_revocation
from validator.core.registration import client_id_of
from validator.core.registry import MAX_GROUPS
from validator.core.revocations import normal_revocation
from validator.model import Application, RegistrationStatus, Revocation
from validator.ports import Record
from validator.registry.weighing import read
from validator.server.resources import MAX_REGISTRATIONS, ApplicationBody, ClientId, Name, RevocationBody
from validator.settings.applications import ApplicationEntry

APPLICATION = Application(
    "id-1", "name", "plain", "client", {"orders": RegistrationStatus.APPROVED}, groups=("gold",)
)
REVOCATION = Revocation("jti", "token", None, 1.0, 2.0)

# As often as not what is just about permitted.
CHARACTERS = st.characters() | st.sampled_from(". ,\x1f\x7f\x85\xa0\u2028\u00ad\u0130\U0001f600")
TEXT = st.text(CHARACTERS, max_size=20) | st.sampled_from([".", "..", "x" * 128, "x" * 129, "x" * 256, "x" * 512])
GROUP = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x80), max_size=8)


def read_again(application: Application) -> Application:
    """As a record has it."""
    written = ApplicationChange(application.id, application)
    found = change(written.key, content(written))
    assert isinstance(found, ApplicationChange)
    assert found.application is not None
    return found.application


@given(
    field=st.sampled_from(["id", "name", "strategy", "client_id", "registrations", "groups"]), value=TEXT | GROUP
)
@settings(max_examples=500)
def test_whatever_the_control_plane_accepts_passes(field: str, value: str) -> None:
    body: dict[str, Any] = {"id": "id-1", "strategy": "plain", "client_id": "client"}
    try:
        accepted = ApplicationBody.model_validate(body | {field: [value] if field.endswith("s") else value})
    except ValidationError:
        return
    application = accepted.application(accepted.id or "")
    check_application(application)
    check_application(read_again(application))


def test_as_long_and_as_many_as_it_accepts() -> None:
    accepted = ApplicationBody.model_validate(
        {
            "id": "x" * 128,
            "name": "x" * 256,
            "strategy": "x" * 128,
            "client_id": "x" * 256,
            "registrations": [f"{number:0256}" for number in range(MAX_REGISTRATIONS)],
            "groups": [f"{number:0128}" for number in range(MAX_GROUPS)],
        }
    )
    check_application(accepted.application("x" * 128))


@given(kind=st.sampled_from(["client_id", "application_id", "session_id", "jti", "sessions_of"]), value=TEXT)
def test_whatever_it_revokes_passes(kind: str, value: str) -> None:
    body = {kind: value} | ({"strategy": "plain"} if kind == "sessions_of" else {})
    try:
        accepted = RevocationBody.model_validate(body)
    except ValidationError:
        return
    entry = normal_revocation(accepted.revocation(1.8e9, 3600.0))
    check_revocation(entry)
    written = RevocationChange(entry)
    found = change(written.key, content(written))
    assert isinstance(found, RevocationChange)
    check_revocation(found.entry)


@given(client_id=TEXT, name=TEXT)
def test_whatever_the_bridge_registers_passes(client_id: str, name: str) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        return
    if client_id_of({"client_id": client_id}) is not None:
        TypeAdapter(ClientId).validate_python(client_id)
        check_application(replace(APPLICATION, name=name, client_id=client_id))


@given(
    entry=st.fixed_dictionaries(
        {"id": TEXT, "strategy": TEXT, "client_id": TEXT},
        optional={
            "name": TEXT,
            "registrations": st.lists(TEXT, max_size=3),
            "groups": st.lists(GROUP, max_size=3),
        },
    )
)
def test_what_stands_in_the_file_has_names_that_pass(entry: dict[str, Any]) -> None:
    """But for two that no path can name, and line separators, none of which the file forbids."""
    try:
        application = ApplicationEntry.model_validate(entry).application()
    except ValidationError:
        return
    names = (application.id, application.name, *application.registrations)
    if not any(name in {".", ".."} or "\u2028" in name or "\u2029" in name for name in names):
        check_application(application)


def of(**changes: Any) -> Application:
    return replace(APPLICATION, **changes)


@pytest.mark.parametrize(
    ("application", "what"),
    [
        (of(id=""), "id"),
        (of(id=".."), "id"),
        (of(id="x" * 129), "id"),
        (of(name="a\r\nX-Evil: 1"), "name"),
        (of(name=1), "name"),
        (of(name="x" * 257), "name"),
        (of(strategy="\x85"), "strategy"),
        (of(strategy=None), "strategy"),
        (of(client_id="\u2028"), "client_id"),
        (of(client_id=["c"]), "client_id"),
        (of(registrations={"a/b": RegistrationStatus.APPROVED, "\n": RegistrationStatus.APPROVED}), "service"),
        (of(registrations={".": RegistrationStatus.APPROVED}), "service"),
        (of(groups=("a,b",)), "group"),
        (of(groups=("a b",)), "group"),
        (of(groups=("a\n",)), "group"),
        (of(groups=("x" * (MAX_GROUP_CHARS + 1),)), "group"),
        (of(groups=(1,)), "group"),
        (of(groups=("g",) * (MAX_GROUPS + 1)), "groups"),
    ],
)
def test_what_could_not_have_been_written_here_does_not_pass(application: Application, what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}: must"):
        check_application(application)


@pytest.mark.parametrize(
    "entry",
    [
        replace(REVOCATION, kind="elsewhere"),
        replace(REVOCATION, strategy="plain"),
        replace(REVOCATION, value=""),
        replace(REVOCATION, value="a\nb"),
        replace(REVOCATION, value="x" * 513),
        replace(REVOCATION, kind="application_id", value=".."),
        replace(REVOCATION, kind="client_id", value="x" * 257),
        replace(REVOCATION, kind="client_id", value="ABCDEF01-0000-4000-8000-000000000001"),
        replace(REVOCATION, kind="client_id", strategy="a\x00b"),
        replace(REVOCATION, created_at=float("nan")),
        replace(REVOCATION, created_at=float("inf")),
        replace(REVOCATION, expires_at=float("inf")),
        replace(REVOCATION, expires_at=2.0**60),
    ],
)
def test_nor_does_a_revocation(entry: Revocation) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_revocation(entry)


@pytest.mark.parametrize(
    "change",
    [
        ApplicationChange("id-1", of(name="a\r\nX-Evil: 1")),
        ApplicationChange("id-1", of(groups=("a,b",))),
        RevocationChange(replace(REVOCATION, value="x" * 513)),
        RevocationChange(replace(REVOCATION, expires_at=float("inf"))),
    ],
)
def test_nor_is_it_read_from_what_others_share(change: ApplicationChange | RevocationChange) -> None:
    with pytest.raises(ValueError, match=r"could not have been written here: .* must"):
        read(Record(change.key, 1, content(change)))


@pytest.mark.parametrize("groups", ["abc", {"a": 1}, None, 1])
def test_groups_are_a_list(groups: object) -> None:
    written = ApplicationChange(APPLICATION.id, APPLICATION)
    parts = json.loads(content(written) or "")
    with pytest.raises(ValueError, match="groups"):
        change(written.key, json.dumps(parts | {"groups": groups}))
