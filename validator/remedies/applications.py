"""What to do where the credential, the application or its registration is the matter, and not a token.

Law of this file: advice by reason; it decides nothing.
"""

import yaml

from validator.model import Application, BearerToken, ClientCredentials, Origin, RegistrationStatus
from validator.remedies.situation import Situation, control_request, token_request


def no_credential(_: Situation) -> list[str]:
    return ["send `Authorization: Bearer <token>`, or `Authorization: Basic <base64 of client id:secret>`"]


def malformed(_: Situation) -> list[str]:
    return [
        "send `Authorization: Bearer <token>` with the token alone behind it, or a client id and secret with",
        "  curl -u '<client id>:<secret>' <the API>",
    ]


def method(situation: Situation) -> list[str]:
    if situation.unmarked == "Basic":
        return ["this looks like a client id and secret: write `Basic ` before it"]
    if situation.unmarked:
        return ["no scheme stands before it: if this is a token, write `Bearer ` before it"]
    sent = {BearerToken: "bearer", ClientCredentials: "client_credentials"}.get(type(situation.credential))
    enabled = ", ".join(method.value for method in situation.strategy.auth_methods)
    if sent is None:
        return [f"send what strategy {situation.name} takes: {enabled}"]
    return [f"send what strategy {situation.name} takes ({enabled}), or add {sent} to its auth_methods"]


def rejected(situation: Situation) -> list[str]:
    if "names another client" in situation.error.detail:
        return ["the token minted for this client names another one: check the strategy's credential_claim"]
    lines = [
        (
            f"check the client id {situation.client_id!r} and its secret (expired, rotated, cut while copying?), "
            "and that the client may use the grant client_credentials; try it yourself with"
        ),
        token_request(situation),
    ]
    if situation.strategy.idp == "okta":
        lines.append(
            f"Okta: the client must be registered for {situation.strategy.token_endpoint_auth_method} (or change "
            "token_endpoint_auth_method), and an access policy of the authorization server must let it in"
        )
    return lines


def session(_: Situation) -> list[str]:
    return ["drop the cookie and send a token, or the client id and secret, once: that opens a new session"]


def revoked(situation: Situation) -> list[str]:
    lines = ["an operator blocked it; the blocks are listed, and lifted, at the control plane"]
    lines.append(control_request(situation, "GET", "/v1/revocations"))
    for entry in situation.revocations:
        body = {entry.kind: entry.value}
        if entry.strategy is not None:  # with it, and without, they are two entries
            body["strategy"] = entry.strategy
        lines.append(control_request(situation, "DELETE", "/v1/revocations", body))
    return lines


def unknown(situation: Situation) -> list[str]:
    body: dict[str, object] = {
        "name": "<its name>",
        "strategy": situation.name,
        "client_id": situation.client_id or "<client id>",
        "registrations": [situation.service or "<service>"],
    }
    return [
        "the credential is good, but no application is known for this client; an operator registers it with",
        control_request(situation, "POST", "/v1/applications", body),
    ]


def not_active(situation: Situation) -> list[str]:
    application = situation.application
    if application is not None and application.origin is Origin.FILE:
        return [f"set `status: active` for the application {application.id} in the configuration file"]
    return ['an operator activates it at the control plane: PUT /v1/applications/{id} with "status": "active"']


def _registrations(application: Application, service: str) -> str:
    """The whole list as it has to stand in the file: what is pasted replaces the one that is there."""
    others = [
        name if status is RegistrationStatus.APPROVED else {"service": name, "status": status.value}
        for name, status in application.registrations.items()
        if name != service
    ]
    flow = yaml.safe_dump([*others, service], default_flow_style=True, sort_keys=False, width=10_000)
    return str(flow).strip()


def not_registered(situation: Situation) -> list[str]:
    application, service = situation.application, situation.service or "<service>"
    if application is None:
        return []
    if application.origin is Origin.FILE:
        return [
            (
                f"the application {application.id} stands in the configuration file: approve the service there, "
                "and send the sidecar SIGHUP"
            ),
            f"  registrations: {_registrations(application, service)}",
        ]
    path = f"/v1/applications/{application.id}/registrations/{service}"
    return [
        "an operator approves the registration with",
        control_request(situation, "PUT", path, {"status": "approved"}),
    ]


def too_many(_: Situation) -> list[str]:
    return ["wait: too many wrong secrets were tried for this client id"]


def idp_unavailable(situation: Situation) -> list[str]:
    return [
        (
            "nothing is known of the credential: the identity provider could not be asked, or gave no answer that "
            f"can be used; `validator check --config FILE --online` says what of strategy {situation.name} works"
        )
    ]


def store_unavailable(_: Situation) -> list[str]:
    return ["see whether the file of store.path can be read and written"]
