"""Konnect's application auth strategies, as the body of ``POST /v2/application-auth-strategies``, as ours.

Law of this file: translation alone, without a file and without a network. What Konnect's documents print is taken
at its word where it can work; wherever it is not, a sentence says so.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from validator.core import entra, trust
from validator.core.entra import GUID
from validator.core.providers import PROVIDERS, USER_SCOPES
from validator.settings.issuer_checks import provider_of_host
from validator.settings.mistakes import Caution, Path, Problem, one_of, shown

# What a body, or Konnect's answer with it, has beside `configs`; nothing of it is a setting of ours.
MEMBERS: Final = frozenset(
    {
        "name", "display_name", "strategy_type", "configs", "dcr_provider_id", "dcr_provider", "labels",
        "id", "created_at", "updated_at", "active",
    }
)  # fmt: skip
WHAT: Final = "the JSON body of Konnect's POST /v2/application-auth-strategies"

CONFIG: Final[Path] = ("configs", "openid-connect")
_READ: Final = frozenset({"issuer", "credential_claim", "scopes", "auth_methods", "labels"})
_METHODS: Final = ("client_credentials", "bearer", "session")
_TYPES: Final = {
    "azure": "azure", "azuread": "azure", "entra": "azure", "okta": "okta", "auth0": "auth0", "curity": "curity",
    "keycloak": "keycloak", "konnect": "kong-identity", "kongidentity": "kong-identity",
}  # fmt: skip
_SHAPES: Final = (
    ("azure", re.compile(rf"/{GUID.pattern}(/v2\.0)?", re.IGNORECASE)),
    ("okta", re.compile(r"/oauth2/[^/]+")),
    ("curity", re.compile(r"/oauth/v2/[^/]+|(/[^/]+)*/oauth-anonymous")),
    ("keycloak", re.compile(r"(/[^/]+)*/realms/[^/]+")),
)
_WORDS: Final = (
    ("azure", re.compile(r"azure|entra\b|microsoft", re.IGNORECASE)),
    ("okta", re.compile(r"okta", re.IGNORECASE)),
    ("auth0", re.compile(r"auth0", re.IGNORECASE)),
    ("curity", re.compile(r"curity", re.IGNORECASE)),
    ("keycloak", re.compile(r"keycloak", re.IGNORECASE)),
    ("kong-identity", re.compile(r"kong[ _-]?identity", re.IGNORECASE)),
)
_MANAGEMENT_API: Final = "/api/v2"  # Auth0's own API, an audience that Konnect's documents print as an issuer
_MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Converted:
    """A strategy of ours.

    Attributes:
        strategy: its settings, as they would stand in the file.
        taken_from: for each of them, the path in the body that it follows from.
        found: what is wrong, or worth knowing; paths within the body.
    """

    strategy: dict[str, object]
    taken_from: dict[str, Path]
    found: tuple[Problem | Caution, ...]


def slug(body: Mapping[str, Any]) -> str:
    """The body's ``name`` as the name of a strategy, or "" where nothing of it can be."""
    name = body.get("name")
    text = name if isinstance(name, str) else ""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:_MAX_NAME].strip("-")


def convert(body: Mapping[str, Any], beside: Mapping[str, Any]) -> Converted:
    """A body as a strategy.

    Args:
        beside: settings of ours that stand beside it. They win, and are not in the result.
    """
    refused = refusal(body)
    if refused is not None:
        # A stand-in, so that one mistake is told once; nothing is ever served with it.
        stand_in: dict[str, object] = {"idp": "generic", "issuer": "https://refused.invalid"}
        return Converted(stand_in, dict.fromkeys(stand_in, refused.path), (refused,))
    config: Mapping[str, Any] = body["configs"]["openid-connect"]
    found: list[Problem | Caution] = []
    issuer = beside.get("issuer", config.get("issuer"))
    issuer = issuer.strip() if isinstance(issuer, str) else issuer
    idp, why = beside.get("idp"), CONFIG
    if not isinstance(idp, str):
        idp, why, doubts = _idp(body, issuer if isinstance(issuer, str) else "")
        found += doubts
    strategy: dict[str, object] = {"idp": idp}
    if issuer is not None:
        strategy["issuer"] = _issuer(idp, issuer, found)
    strategy |= _claim(config.get("credential_claim"), found)
    methods = _methods(config.get("auth_methods"), found)
    on = beside.get("auth_methods", methods or _METHODS)
    by_secret = isinstance(on, str | list | tuple) and "client_credentials" in on
    strategy |= _scopes(idp, issuer, config.get("scopes"), found, by_secret=by_secret, beside=beside)
    if methods is not None:
        strategy["auth_methods"] = methods
    found += _unread(config)
    kept = {name: value for name, value in strategy.items() if name not in beside}
    taken_from: dict[str, Path] = {name: (*CONFIG, name if name in config else "issuer") for name in kept}
    taken_from["idp"] = why
    taken_from["trust_token_response"] = (*CONFIG, "scopes")
    return Converted(kept, taken_from, tuple(item for item in found if not _overridden(item, beside)))


def _overridden(item: Problem | Caution, beside: Mapping[str, Any]) -> bool:
    return item.path[:2] == CONFIG and len(item.path) > len(CONFIG) and item.path[2] in beside


def refusal(body: Mapping[str, Any]) -> Problem | None:
    """Why a body is no strategy that we could have; ``None``: it is one."""
    if body.get("strategy_type") == "key_auth":
        return Problem(
            ("strategy_type",),
            "'key_auth'",
            "strategy_type openid_connect: keys of key_auth come from no identity provider, and Kong's own plugin "
            "checks them",
        )
    if "dcr_config" in body:
        return Problem(("dcr_config",), "a DCR provider", f"an application auth strategy: {WHAT}")
    if isinstance(body.get("data"), list) and "configs" not in body:
        return Problem(("data",), "a list of Konnect's GET", "one strategy; save one element of data")
    configs = body.get("configs")
    if not isinstance(configs, Mapping) or not isinstance(configs.get("openid-connect"), Mapping):
        there = "no application auth strategy" if configs is None else shown(("configs",), configs)
        if isinstance(configs, Mapping):
            there = f"configs with {', '.join(sorted(map(str, configs)))[:60] or 'nothing in it'}"
        return Problem(("configs",), there, f"configs with the section openid-connect in it, as in {WHAT}")
    return None


# Whose ways apply


def _idp(body: Mapping[str, Any], issuer: str) -> tuple[str, Path, list[Caution]]:
    """The ``idp``, where it is said, and what in the body says another one."""
    hints = list(_hints(body, issuer))
    if not hints:
        text = "nothing here names the identity provider, so idp: generic was taken; set idp if it is another one"
        return "generic", (*CONFIG, "issuer"), [Caution((*CONFIG, "issuer"), text)]
    chosen, path, by = hints[0]
    others = {idp: (where, what) for idp, where, what in reversed(hints[1:]) if idp != chosen}
    return chosen, path, [
        Caution(where, f"{what} says {idp}, but {by} says {chosen}, which was taken; set idp if that is wrong")
        for idp, (where, what) in others.items()
    ]  # fmt: skip


def _hints(body: Mapping[str, Any], issuer: str) -> Iterator[tuple[str, Path, str]]:
    """Whatever names an identity provider, the most telling first: idp, where it stands, what it is."""
    at: Path = (*CONFIG, "issuer")
    try:
        by_host = provider_of_host(issuer)
        path = urlsplit(issuer).path.partition("/.well-known/")[0].rstrip("/")
    except ValueError:
        by_host, path = None, ""
    if by_host:
        yield by_host, at, "the issuer's host"
    provider = body.get("dcr_provider")
    for place, value in (
        (("strategy_type",), body.get("strategy_type")),
        (("dcr_provider",), provider.get("provider_type") if isinstance(provider, Mapping) else None),
    ):
        named = _TYPES.get(re.sub(r"[^a-z0-9]", "", value.lower())) if isinstance(value, str) else None
        if named:
            yield named, place, f"{place[0]} {shown(place, value)}"
    for idp, shape in _SHAPES:
        if shape.fullmatch(path):
            yield idp, at, "the shape of the issuer's path"
    for member in ("name", "display_name"):
        text = body.get(member)
        named_here = [idp for idp, word in _WORDS if word.search(text)] if isinstance(text, str) else []
        if len(named_here) == 1:
            yield named_here[0], (member,), f"{member} {shown((member,), text)}"


# What is demanded


def _issuer(idp: str, issuer: object, found: list[Problem | Caution]) -> object:
    if idp != "auth0" or not isinstance(issuer, str):
        return issuer
    try:
        parts = urlsplit(issuer)
    except ValueError:
        return issuer
    if parts.path.rstrip("/") != _MANAGEMENT_API:
        return issuer
    right = urlunsplit((parts.scheme, parts.netloc, "/", "", ""))
    text = f"the audience of Auth0's Management API and no issuer; {right} was taken in its place"
    found.append(Caution((*CONFIG, "issuer"), text))
    return right


def _claim(value: object, found: list[Problem | Caution]) -> dict[str, object]:
    """Konnect's list is one path, a name for each level; our dotted path says the same."""
    names = [value] if isinstance(value, str) else value
    if not names:
        return {}
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return {"credential_claim": value}  # the model says what is wrong with it
    at: Path = (*CONFIG, "credential_claim")
    several = len(names) > 1
    if any("." in name and (several or "://" not in name) for name in names):
        found.append(
            Problem(
                at,
                shown(at, next(name for name in names if "." in name)),
                "names without dots, one for each level: Konnect reads the whole list as one path into nested "
                "claims, and a dot as part of a name; the strategy's own credential_claim beside it takes "
                "alternatives and dotted paths",
                '["ctx", "app_id"]',
            )
        )
        return {}
    return {"credential_claim": [".".join(names)]}


def _methods(value: object, found: list[Problem | Caution]) -> list[str] | None:
    """Those of ours; ``None`` where none are named, which leaves our default."""
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not named:
        return None
    at: Path = (*CONFIG, "auth_methods")
    known = [method for method in named if method in _METHODS]
    other = [method for method in named if method not in _METHODS]
    if not known:
        found.append(Problem(at, shown(at, other[0]), one_of(_METHODS, other[0])))
        return None
    for method in other:
        text = f"{shown(at, method)} is none of {', '.join(_METHODS)} and was left out"
        found.append(Caution(at, text))
    return known


def _scopes(
    idp: str,
    issuer: object,
    value: object,
    found: list[Problem | Caution],
    *,
    by_secret: bool,
    beside: Mapping[str, Any],
) -> dict[str, object]:
    """The scopes that client credentials can have, and for Entra what is asked for where none is left."""
    names = value.split() if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return {"scopes": value}  # the model says what is wrong with it
    provider = PROVIDERS.get(idp, PROVIDERS["generic"])
    about_users = [] if provider.user_scopes else [name for name in names if name in USER_SCOPES]
    kept = [name for name in names if name not in about_users]
    if about_users:
        text = f"{', '.join(about_users)}: about a user, and client credentials have none; left out"
        found.append(Caution((*CONFIG, "scopes"), text))
    own = any(beside.get(name) for name in ("audience", "scopes"))
    if not (trust.is_entra(idp) and by_secret and isinstance(issuer, str)) or own:
        return {"scopes": kept} if kept else {}
    if kept and not all(map(entra.is_graph, kept)):
        return {"scopes": kept}
    if not kept:
        kept = [entra.graph(_login(issuer)) + "/.default"]
        text = f"nothing here names an API of yours, so {kept[0]} is asked for, as Konnect's documents print it"
        found.append(Caution((*CONFIG, "scopes"), text))
    return {"scopes": kept, "trust_token_response": True}


def _login(issuer: str) -> str:
    try:
        tenant = entra.tenant(issuer)
    except ValueError:
        return ""
    return tenant.base if tenant else ""


def _unread(config: Mapping[str, Any]) -> Iterator[Caution]:
    for name in config:
        if name in _READ:
            continue
        value = config[name]
        inner = f" ({', '.join(sorted(map(str, value)))[:100]})" if isinstance(value, Mapping) else ""
        text = f"not read{inner}; if it matters, write the setting of docs/configuration.md for it"
        yield Caution((*CONFIG, str(name)[:60]), text)
