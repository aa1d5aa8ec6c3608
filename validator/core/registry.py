"""Application x service -> allowed or denied.

Law of this file: everything that decides whether an application may call a service lives here, and nothing
that decides who the application is.
"""

import re

from validator.errors import Denied, Unavailable
from validator.model import Application, Knowledge, Origin, Reason, RegistrationStatus

MAX_GROUPS = 32  # of one application

_GUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


def canonical_client_id(client_id: str) -> str:
    """The form under which client ids are compared.

    Entra emits GUIDs in lower case and operators paste them in upper case, so GUID-shaped ids compare without
    regard to case; all others exactly (RFC 6749 section 2.2 leaves the identifier opaque).
    """
    return client_id.lower() if _GUID.fullmatch(client_id) else client_id


def demand(knowledge: Knowledge, *, whole: bool = False) -> None:
    """What is known may be gone by.

    Args:
        whole: and what is absent may be denied.

    Raises:
        Unavailable: (``store_unavailable``) it may not.
    """
    if knowledge is Knowledge.REFUSED:
        raise Unavailable(Reason.STORE_UNAVAILABLE, "what others have written has been out of reach for too long")
    if whole and knowledge is Knowledge.BEHIND:
        raise Unavailable(Reason.STORE_UNAVAILABLE, "others may have written what is absent here")


def authorize(
    application: Application | None, service: str, knowledge: Knowledge = Knowledge.CURRENT
) -> Application:
    """The application, if it may call ``service``.

    Raises:
        Denied: ``application_unknown``, ``application_inactive`` or ``not_registered``.
        Unavailable: (``store_unavailable``) that cannot be known at the moment.
    """
    demand(knowledge)
    if application is None:
        demand(knowledge, whole=True)
        raise Denied(Reason.APPLICATION_UNKNOWN, "no application has this client id under this strategy")
    if not application.active:
        raise Denied(Reason.APPLICATION_INACTIVE, f"application {application.id} is inactive")
    status = application.registrations.get(service)
    if status is None and application.origin is Origin.API:
        demand(knowledge, whole=True)
    if status is not RegistrationStatus.APPROVED:
        found = f"the registration is {status.value}" if status else "there is no registration"
        raise Denied(Reason.NOT_REGISTERED, f"application {application.id}, service {service!r}: {found}")
    return application
