"""Only an approved registration of an active application opens the door, and a client id is its own alone."""

import pytest
from core_support import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.core.registry import authorize, canonical_client_id
from validator.model import Application, Reason, RegistrationStatus

GUID = "0a1b2c3d-4e5f-6789-abcd-ef0123456789"


def application(*, active: bool = True, **registrations: RegistrationStatus) -> Application:
    return Application("a-1", "Orders", "plain", "orders", registrations, active)


def test_an_approved_registration_opens_the_door() -> None:
    approved = application(orders=RegistrationStatus.APPROVED)
    assert authorize(approved, "orders") is approved


@pytest.mark.parametrize(
    ("found", "service", "reason", "words"),
    [
        pytest.param(None, "orders", Reason.APPLICATION_UNKNOWN, "no application", id="unknown"),
        pytest.param(
            application(active=False, orders=RegistrationStatus.APPROVED),
            "orders", Reason.APPLICATION_INACTIVE, "a-1", id="inactive-though-approved",
        ),
        pytest.param(application(), "orders", Reason.NOT_REGISTERED, "no registration", id="no-registration"),
        *(
            pytest.param(
                application(orders=status), "orders", Reason.NOT_REGISTERED, status.value, id=status.value
            )
            for status in RegistrationStatus
            if status is not RegistrationStatus.APPROVED
        ),
        pytest.param(
            application(billing=RegistrationStatus.APPROVED),
            "orders", Reason.NOT_REGISTERED, "no registration", id="for-another-service",
        ),
        pytest.param(
            application(orders=RegistrationStatus.APPROVED),
            "Orders", Reason.NOT_REGISTERED, "'Orders'", id="service-in-another-case",
        ),
        pytest.param(
            application(orders=RegistrationStatus.APPROVED),
            "", Reason.NOT_REGISTERED, "no registration", id="no-service",
        ),
    ],
)  # fmt: skip
def test_anything_less_is_a_403_that_says_why(
    found: Application | None, service: str, reason: Reason, words: str
) -> None:
    assert reason.status == 403
    with refused(reason, words):
        authorize(found, service)


@pytest.mark.parametrize(
    ("client_id", "canonical"),
    [
        pytest.param(GUID, GUID, id="lower-case"),
        pytest.param(GUID.upper(), GUID, id="upper-case"),
        pytest.param(GUID.title(), GUID, id="mixed-case"),
        pytest.param("Orders", "Orders", id="a-word-keeps-its-case"),
        pytest.param(GUID.upper() + "X", GUID.upper() + "X", id="one-character-more"),
        pytest.param(GUID.upper()[1:], GUID.upper()[1:], id="one-character-less"),
        pytest.param(GUID.upper() + "\n", GUID.upper() + "\n", id="a-line-break-after-it"),
        pytest.param("{" + GUID.upper() + "}", "{" + GUID.upper() + "}", id="in-braces"),
        pytest.param(GUID.upper().replace("-", ""), GUID.upper().replace("-", ""), id="without-hyphens"),
        pytest.param(GUID.upper().replace("0", "G"), GUID.upper().replace("0", "G"), id="not-hexadecimal"),
        pytest.param(GUID.upper().replace("1", "\u0661"), GUID.upper().replace("1", "\u0661"), id="other-digits"),
        pytest.param("", "", id="empty"),
    ],
)
def test_guids_compare_without_case_and_all_else_exactly(client_id: str, canonical: str) -> None:
    assert canonical_client_id(client_id) == canonical


@given(st.text(max_size=60) | st.uuids().map(str).map(str.upper))
@settings(deadline=None, max_examples=300)
def test_the_canonical_form_is_settled_and_at_most_in_another_case(client_id: str) -> None:
    canonical = canonical_client_id(client_id)
    assert canonical_client_id(canonical) == canonical
    assert canonical in (client_id, client_id.lower())
