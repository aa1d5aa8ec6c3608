"""How the parts that judge a credential tell of their way, for whoever explains a decision to a person.

Law of this file: names alone. Nobody listens in the sidecar, and nothing is decided by what is told.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any


class Step(StrEnum):
    """What has been passed or come to. With some of them goes what was found; it may hold a token."""

    PARSED = "parsed"  # core.jws.Jws
    NOT_FOR_GRAPH = "not_for_graph"
    ALGORITHM = "algorithm"
    ISSUER = "issuer"  # authn.trusted.Expected
    SCREENED = "screened"
    KEY = "key"  # core.jwks.VerificationKey
    SIGNATURE = "signature"
    TYPE = "type"
    BEGUN = "begun"
    AUDIENCE = "audience"
    REQUIRED_CLAIMS = "required_claims"
    CLIENT_ID = "client_id"  # the client id, str
    NOT_ID_TOKEN = "not_id_token"  # noqa: S105 - a step's name
    SCOPES = "scopes"
    INTROSPECTING = "introspecting"  # the endpoint's URL, str
    INTROSPECTED = "introspected"  # the members of the answer, a mapping
    GRANT = "grant"  # authn.basic.Asked
    MINTED = "minted"  # core.oauth.MintedToken
    MINTED_COUNTS = "minted_counts"  # authn.basic.Basis


Tell = Callable[[Step, Any], None]


def nobody(step: Step, found: Any) -> None:
    """Listens to nothing."""
