"""The gateway-side judge of credentials for Kong: a sidecar that answers one question per request."""

__version__ = "0.1.0"
