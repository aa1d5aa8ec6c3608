"""What ids, names and groups may consist of, wherever they come from.

Law of this file: pure rules, each of which raises ``ValueError`` in words for whoever has written the value. What
they let through breaks no header, no log line, no address and no key that is made of it.
"""

import math
import re
from collections.abc import Callable
from typing import Final

from validator.core.registry import MAX_GROUPS
from validator.core.revocations import normal_revocation
from validator.model import Application, Revocation

MAX_ID_CHARS: Final = 128
MAX_NAME_CHARS: Final = 256
MAX_CLIENT_ID_CHARS: Final = 256
MAX_SERVICE_CHARS: Final = 256
MAX_STRATEGY_CHARS: Final = 128
MAX_TOKEN_ID_CHARS: Final = 512
MAX_GROUP_CHARS: Final = 128

# Visible ASCII without the comma, which separates them in a header.
GROUP: Final = r"^[\x21-\x2b\x2d-\x7e]+$"

# C0 and C1 controls, DEL, the line and paragraph separators: nothing that breaks a header or a log line.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_END_OF_TIME_S: Final = 2.0**53


def printable(value: str) -> str:
    """Of every name."""
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    return value


def addressable(value: str) -> str:
    """Of what stands in a path."""
    if value in {".", ".."}:
        raise ValueError("must not be '.' or '..': no URL could name it")
    return value


def group(value: str) -> str:
    """Of what upstreams are told that an application belongs to."""
    if re.fullmatch(GROUP, value) is None:
        raise ValueError("must be visible ASCII characters without spaces and commas")
    return value


def check_application(application: Application) -> None:
    """An application that comes from elsewhere is one that could have been written here.

    Raises:
        ValueError: it is not, and what of it.
    """
    _check("id", application.id, MAX_ID_CHARS, printable, addressable)
    _check("name", application.name, MAX_NAME_CHARS, printable)
    _check("strategy", application.strategy, MAX_STRATEGY_CHARS, printable)
    _check("client_id", application.client_id, MAX_CLIENT_ID_CHARS, printable)
    for service in application.registrations:
        _check("service", service, MAX_SERVICE_CHARS, printable, addressable)
    if len(application.groups) > MAX_GROUPS:
        raise ValueError(f"groups: must be {MAX_GROUPS} at most")
    for name in application.groups:
        _check("group", name, MAX_GROUP_CHARS, group)


def check_revocation(entry: Revocation) -> None:
    """The same of what no longer counts; a client id stands in its canonical form.

    Raises:
        ValueError: as above.
    """
    if normal_revocation(entry) != entry:
        raise ValueError("client_id: must be in its canonical form")
    if entry.strategy is not None:
        _check("strategy", entry.strategy, MAX_STRATEGY_CHARS, printable)
    if entry.kind in {"client_id", "sessions_of"}:
        _check(entry.kind, entry.value, MAX_CLIENT_ID_CHARS, printable)
    elif entry.kind == "application_id":
        _check(entry.kind, entry.value, MAX_ID_CHARS, printable, addressable)
    else:
        _check(entry.kind, entry.value, MAX_TOKEN_ID_CHARS, printable)
    for at in (entry.created_at, entry.expires_at):
        if at is not None and not (math.isfinite(at) and abs(at) < _END_OF_TIME_S):
            raise ValueError("created_at, expires_at: must be seconds since the epoch")


def _check(what: str, value: object, longest: int, *rules: Callable[[str], str]) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise ValueError(f"{what}: must be a text of 1 to {longest} characters")
    for rule in rules:
        try:
            rule(value)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
