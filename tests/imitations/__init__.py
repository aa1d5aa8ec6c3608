"""Faithful imitations of the vendors' identity providers, on loopback.

Law of this package: each module behaves as its vendor's documentation says, its peculiarities and its mistakes
included; where the vendor does not say, the docstring does not claim it. They are built on the parts of
``validator.testing`` and share no code with what they test beyond these.
"""

from imitations.auth0 import Auth0Api, Auth0Imitation
from imitations.curity import CurityImitation
from imitations.entra import EntraImitation, EntraResource
from imitations.okta import OktaImitation

__all__ = [
    "Auth0Api",
    "Auth0Imitation",
    "CurityImitation",
    "EntraImitation",
    "EntraResource",
    "OktaImitation",
]
