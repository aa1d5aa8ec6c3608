"""What the settings of the HTTP DCR bridge and the others say about each other.

Law of this file: every rule reads the document as written and skips what is not of the right shape.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from validator.settings.mistakes import Caution, Path, Problem, one_of, shown
from validator.settings.redis_checks import shares

Finding = Problem | Caution
Document = Mapping[str, Any]

_KEYS_EXAMPLE = "api_keys_file: /run/secrets/dcr-api-keys"


def bridge_findings(document: Document) -> Iterator[Finding]:
    """Everything about the bridge that is wrong, or worth a warning."""
    dcr, strategies = document.get("dcr"), document.get("strategies")
    strategies = strategies if isinstance(strategies, Mapping) else {}
    if isinstance(dcr, Mapping):
        yield from _api_keys(dcr)
        yield from _named(dcr, strategies)
        yield from _durable(document, dcr)
    yield from _listener(document, dcr)
    served = _served(dcr, strategies) if isinstance(dcr, Mapping) else frozenset()
    for name, strategy in strategies.items():
        if not isinstance(strategy, Mapping):
            continue
        path: Path = ("strategies", name, "registration")
        if name in served:
            yield from _registration(path, strategy)
        elif strategy.get("registration") is not None and (dcr is None or isinstance(dcr, Mapping)):
            yield Caution(
                path,
                "this has no effect: the bridge registers no clients under this strategy; name it in dcr.strategy "
                "or dcr.strategies",
            )


def _given(section: Document, *names: str) -> bool:
    return any(section.get(name) not in (None, (), [], "") for name in names)


def _api_keys(dcr: Document) -> Iterator[Finding]:
    if not _given(dcr, "api_keys", "api_keys_file"):
        at: Path = ("dcr", "api_keys") if "api_keys" in dcr else ("dcr",)
        yield Problem(
            at,
            "no API key",
            "dcr.api_keys_file or dcr.api_keys: nobody could call the bridge without one",
            _KEYS_EXAMPLE,
        )


def _listener(document: Document, dcr: object) -> Iterator[Finding]:
    listen = document.get("listen")
    if dcr is None and isinstance(listen, Mapping) and listen.get("dcr") is not None:
        yield Problem(
            ("listen", "dcr"),
            "no section dcr beside it",
            "a section dcr with the API keys of the bridge, or no listen.dcr",
            f"dcr: {{{_KEYS_EXAMPLE}}}",
        )


def _named(dcr: Document, strategies: Document) -> Iterator[Finding]:
    default, mapped = dcr.get("strategy"), dcr.get("strategies")
    at: Path = ("dcr", "strategy")
    if isinstance(default, str) and default not in strategies:
        yield Problem(at, shown(at, default), one_of(strategies, default))
    for identifier, name in mapped.items() if isinstance(mapped, Mapping) else ():
        at = ("dcr", "strategies", identifier)
        if isinstance(name, str) and name not in strategies:
            yield Problem(at, shown(at, name), one_of(strategies, name))
    if default is None and not mapped and len(strategies) > 1:
        yield Problem(
            ("dcr",),
            "neither strategy nor strategies",
            "dcr.strategy, or dcr.strategies by auth_strategy_id, since the file has several strategies",
            f"strategy: {next(iter(strategies))}",
        )


def _durable(document: Document, dcr: Document) -> Iterator[Finding]:
    """What manages a client at its identity provider has to outlive the process that learned of it."""
    store, session = document.get("store"), document.get("session")
    if store is not None and not isinstance(store, Mapping):
        return
    shared = shares(document)
    if (store or {}).get("path") is None and not shared:
        yield Caution(
            ("dcr",),
            "store.path is not set: clients that are registered through the bridge cannot be managed through it "
            "after a restart",
        )
    elif not _given(dcr, "sealing_keys", "sealing_keys_file") and not (
        isinstance(session, Mapping) and _given(session, "keys", "keys_file")
    ):
        yield Problem(
            ("dcr",),
            "no keys to seal with",
            "dcr.sealing_keys_file or session.keys_file: without one registration access tokens could not be "
            f"opened after a restart{', nor by another sidecar' if shared else ''}",
            "sealing_keys_file: /run/secrets/dcr-sealing-keys",
        )


def _served(dcr: Document, strategies: Document) -> frozenset[str]:
    """The strategies that clients are registered under."""
    default, mapped = dcr.get("strategy"), dcr.get("strategies")
    names = [name for name in mapped.values() if isinstance(name, str)] if isinstance(mapped, Mapping) else []
    if isinstance(default, str):
        names.append(default)
    elif default is None and not mapped and len(strategies) == 1:
        names += strategies
    return frozenset(names)


def _registration(path: Path, strategy: Document) -> Iterator[Finding]:
    section = strategy.get("registration")
    if section is not None and not isinstance(section, Mapping):
        return
    settings: Document = section or {}
    adapter = settings.get("adapter") or ("okta" if strategy.get("idp") == "okta" else "rfc7591")
    if adapter == "okta" and not _given(settings, "initial_access_token", "initial_access_token_file"):
        yield Problem(
            path,
            "no initial access token",
            "registration.initial_access_token_file, the API token of an Okta admin who may manage applications",
            "registration: {initial_access_token_file: /run/secrets/okta-api-token}",
        )
    discovers = strategy.get("discovery", strategy.get("jwks_uri") is None) is not False
    if adapter == "rfc7591" and not discovers and settings.get("endpoint") is None:
        yield Problem(
            (*path, "endpoint"),
            "nothing",
            "where clients are registered, since discovery is off",
            "https://idp.example.com/register",
        )
