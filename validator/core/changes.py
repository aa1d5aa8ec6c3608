"""A change of the registry as a value: what a write does, as it is stored, shared and applied.

Law of this file: one change names one thing by its key and says all that is known of it from now on, or that it is
no more. So changes may be applied twice, and the last one of a key is the whole truth about it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from validator.model import Application, ClientRecord, RegistrationStatus, Revocation

_APPLICATION: Final = "application"
_REVOCATION: Final = "revocation"
_CLIENT: Final = "client"
_FORGOTTEN: Final = "forgotten"
_SEPARATOR: Final = "\0"  # stands in no id, name or strategy


@dataclass(frozen=True, slots=True)
class ApplicationChange:
    """A stored application as it is from now on; ``None``: it is no more."""

    id: str
    application: Application | None

    @property
    def key(self) -> str:
        return _SEPARATOR.join((_APPLICATION, self.id))


@dataclass(frozen=True, slots=True)
class RevocationChange:
    """An entry of what no longer counts, in its normal form; ``lifted``: it counts again."""

    entry: Revocation
    lifted: bool = False

    @property
    def key(self) -> str:
        return _SEPARATOR.join((_REVOCATION, self.entry.kind, self.entry.strategy or "", self.entry.value))


@dataclass(frozen=True, slots=True)
class ClientChange:
    """What is kept of a client that was registered dynamically; ``None``: nothing any more."""

    strategy: str
    client_key: str
    record: ClientRecord | None

    @property
    def key(self) -> str:
        return _SEPARATOR.join((_CLIENT, self.strategy, self.client_key))


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is cached is not used again: of one client, or (both ``None``) of all.

    ``mark`` is another one each time: what was found out under an earlier mark is no longer believed.
    """

    strategy: str | None
    client_key: str | None
    mark: str

    @property
    def key(self) -> str:
        return _SEPARATOR.join((_FORGOTTEN, self.strategy or "", self.client_key or ""))


Change = ApplicationChange | RevocationChange | ClientChange | Forgotten


def content(change: Change) -> str | None:
    """What is known of the change's key from now on, as JSON; ``None``: it is no more."""
    match change:
        case ApplicationChange(_, application):
            return None if application is None else _json(_application_parts(application))
        case RevocationChange(entry, lifted):
            return None if lifted else _json([entry.created_at, entry.expires_at])
        case ClientChange(_, _, record):
            return None if record is None else _json(_record_parts(record))
        case Forgotten(_, _, mark):
            return _json(mark)


def change(key: str, text: str | None) -> Change:
    """The inverse of ``key`` and ``content``.

    Raises:
        ValueError: no change reads so.
    """
    kind, *names = key.split(_SEPARATOR)
    value = None if text is None else json.loads(text)
    try:
        match kind, names:
            case "application", [identifier]:
                return ApplicationChange(identifier, None if value is None else _application(identifier, value))
            case "revocation", [what, strategy, name]:
                created_at, expires_at = (0.0, None) if value is None else value
                entry = Revocation(
                    what,
                    name,
                    strategy or None,
                    float(created_at),
                    None if expires_at is None else float(expires_at),
                )
                return RevocationChange(entry, lifted=value is None)
            case "client", [strategy, client_key]:
                return ClientChange(strategy, client_key, None if value is None else _record(strategy, value))
            case "forgotten", [strategy, client_key] if isinstance(value, str):
                return Forgotten(strategy or None, client_key or None, value)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"what is written of {key!r} cannot be read: {error!r}") from None
    raise ValueError(f"{key!r} names nothing that is known here")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _application_parts(application: Application) -> Mapping[str, object]:
    return {
        "name": application.name,
        "strategy": application.strategy,
        "client_id": application.client_id,
        # In order of their names: equal applications are written alike, wherever they were kept.
        "registrations": {service: status.value for service, status in sorted(application.registrations.items())},
        "active": application.active,
        "groups": list(application.groups),
    }


def _application(identifier: str, value: Mapping[str, Any]) -> Application:
    return Application(
        identifier,
        value["name"],
        value["strategy"],
        value["client_id"],
        {service: RegistrationStatus(status) for service, status in value["registrations"].items()},
        value["active"] is True,
        groups=_groups(value["groups"]),
    )


def _groups(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("groups are a list")
    return tuple(value)


def _record_parts(record: ClientRecord) -> list[object]:
    return [record.client_id, record.application_id, record.sealed, record.adopted, record.deleted_at]


def _record(strategy: str, value: list[Any]) -> ClientRecord:
    client_id, application_id, sealed, adopted, deleted_at = value
    return ClientRecord(strategy, client_id, application_id, sealed, adopted is True, deleted_at)
