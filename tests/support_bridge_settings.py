"""Files with settings of the HTTP DCR bridge, and reading them. Secrets begin with CANARY, or are SEALING_KEY."""

import base64
from pathlib import Path

import pytest

from validator.settings import Settings, SettingsError, read

API_KEY = "CANARY_api_key_0"
OTHER_KEY = "CANARY_api_key_1"
SEALING_KEY = base64.b64encode(b"s" * 32).decode()
TOKEN = "CANARY.initial-access-token"

# The strategy is in line 3, what is appended begins in line 4.
PLAIN = "strategies:\n  plain:\n    {idp: generic, issuer: 'https://idp.example.com', audience: orders%s}\n"
SECOND = "  second: {idp: generic, issuer: 'https://second.example', audience: orders}\n"
OKTA = "strategies:\n  okta:\n    {idp: okta, issuer: 'https://x.okta.com/oauth2/default', audience: orders%s}\n"
DCR = f"dcr: {{api_keys: {API_KEY}}}\n"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def settings_of(directory: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    return read(write(directory / "v.yaml", text), environ or {})


def refused(directory: Path, text: str, environ: dict[str, str] | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        settings_of(directory, text, environ)
    return caught.value
