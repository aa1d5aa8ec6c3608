"""The one floor that names concrete classes and builds the running thing from settings."""

from validator.wiring.parts import issuer_place, new_client
from validator.wiring.sidecar import Sidecar

__all__ = ["Sidecar", "issuer_place", "new_client"]
