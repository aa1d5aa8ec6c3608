"""Which issuers a strategy trusts is read off what an operator typed."""

import pytest

from validator.core.trust import is_custom_okta_server


@pytest.mark.parametrize(
    ("path", "custom"),
    [
        ("/oauth2/default", True),
        ("/oauth2/aus1a2b3", True),
        ("/oauth2/default/", True),
        ("", False),
        ("/", False),
        ("/default", False),
        ("/oauth2", False),
        ("/oauth2/", False),
        ("/oauth2/default/v1/token", False),
        ("/x/oauth2/default", False),
    ],
)
def test_a_custom_server_of_okta_is_named_by_its_path(path: str, custom: bool) -> None:
    assert is_custom_okta_server(path) is custom
