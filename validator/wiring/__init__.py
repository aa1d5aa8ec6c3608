"""The one floor that names concrete classes and builds the running thing from settings."""

from validator.wiring.parts import new_client, trusted_places
from validator.wiring.sidecar import Sidecar

__all__ = ["Sidecar", "new_client", "trusted_places"]
