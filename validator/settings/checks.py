"""What one setting says about another.

Law of this file: every rule reads the document as written, skips what is not of the right shape (that is
another mistake, found elsewhere) and so runs however much else is wrong. One pass, linear in the document.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from validator.core.registry import canonical_client_id
from validator.settings.bridge_checks import bridge_findings
from validator.settings.introspection_checks import introspection_findings, introspects
from validator.settings.mistakes import Caution, Path, Problem, one_of, shown
from validator.settings.provider_checks import audience_findings, provider_findings
from validator.settings.redis_checks import redis_findings, shares
from validator.settings.sections import Keys, Limits, Listen, Outbound, Session
from validator.settings.upstream_checks import upstream_findings
from validator.settings.values import Address, Section, is_insecure

Finding = Problem | Caution
Document = Mapping[str, Any]

_RESERVED_PARAMS = ("grant_type", "client_id", "client_secret")
_ALL_METHODS = ("client_credentials", "bearer", "session")


def findings(document: Document) -> Iterator[Finding]:
    """Everything that is wrong, or worth a warning, between the settings of a document."""
    yield from _listening(document)
    yield from redis_findings(document)
    if not shares(document):
        yield from _session_keys(document)
    yield from _orders(document)
    strategies = _section(document, "strategies")
    for name, strategy in strategies.items():
        if isinstance(strategy, Mapping):
            yield from _strategy(("strategies", name), strategy)
    yield from _applications(document.get("applications"), strategies)
    yield from bridge_findings(document)
    if not shares(document) and _section(document, "store").get("path") is None:
        yield Caution(("store",), "store.path is not set: what the control plane writes is lost with a restart")


def _section(document: Document, name: str) -> Document:
    part = document.get(name)
    return part if isinstance(part, Mapping) else {}


def _listening(document: Document) -> Iterator[Finding]:
    section = _section(document, "listen")
    data, control, dcr = (_address(section, name) for name in ("data", "control", "dcr"))
    has_token = any(_section(document, "control").get(name) is not None for name in ("token", "token_file"))
    if control and not control.is_local and not has_token:
        yield Problem(
            ("listen", "control"),
            shown(("listen", "control"), str(control)),
            "control.token_file or control.token beside it: off loopback the control plane demands a token",
            "token_file: /run/secrets/control-token",
        )
    secured = section.get("data_tls") is not None
    if secured and data and data.path is not None:
        yield Problem(
            ("listen", "data_tls"),
            "TLS on a Unix socket",
            "listen.data as host:port, or no data_tls: nothing of a Unix socket leaves the machine",
            "data: 0.0.0.0:8100",
        )
    if data and not data.is_local and not secured:
        yield Caution(
            ("listen", "data"),
            "the data plane can be reached from other machines, and credentials travel to it in clear: "
            "let only gateways reach it",
        )
    if _same(data, control):
        yield Problem(
            ("listen", "control"), repr(str(control)), "an address other than listen.data", "127.0.0.1:8101"
        )
    for name, other in (("data", data), ("control", control)):
        if _same(dcr, other):
            yield Problem(
                ("listen", "dcr"), repr(str(dcr)), f"an address other than listen.{name}", "127.0.0.1:8102"
            )


def _same(one: Address | None, other: Address | None) -> bool:
    return one is not None and one == other and bool(one.path or one.port)  # port 0 is another one each time


def _address(section: Document, name: str) -> Address | None:
    try:
        return Address.parse(section.get(name, Listen.model_fields[name].default))
    except PydanticCustomError:
        return None


def _session_keys(document: Document) -> Iterator[Finding]:
    session = _section(document, "session")
    if not session.get("keys") and session.get("keys_file") is None:
        yield Caution(
            ("session",),
            "session.keys_file is not set: a random key is made at each start, so sessions end with a "
            "restart and are not shared between sidecars",
        )


def _orders(document: Document) -> Iterator[Finding]:
    """Pairs of numbers of which one may not exceed the other."""
    for name, model, less, more in (
        ("session", Session, "idle_ttl_s", "absolute_ttl_s"),
        ("keys", Keys, "min_refresh_s", "refresh_s"),
        ("keys", Keys, "refresh_s", "last_known_good_s"),
        ("outbound", Outbound, "connect_timeout_s", "timeout_s"),
        ("limits", Limits, "max_token_bytes", "max_header_bytes"),
    ):
        section = _section(document, name)
        low, high = _number(section, model, less), _number(section, model, more)
        if low is not None and high is not None and low > high:
            # Told of the one that was written; the other may be a default.
            at, phrase = (
                (less, f"at most {more}, which is {high:g}")
                if less in section
                else (more, f"at least {less}, which is {low:g}")
            )
            yield Problem((name, at), f"{low if at == less else high:g}", phrase)


def _number(section: Document, model: type[Section], name: str) -> float | None:
    value = section.get(name, model.model_fields[name].default)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _strategy(path: Path, strategy: Document) -> Iterator[Finding]:
    for at, url in _urls(path, strategy):
        if not isinstance(url, str) or not is_insecure(url):
            continue
        if strategy.get("allow_insecure_http") is True:
            yield Caution(at, "http beyond loopback: secrets and keys travel in clear")
        else:
            yield Problem(
                at,
                shown(at, url),
                "https, or http to loopback, or allow_insecure_http: true",
                "https://idp.example.com",
            )
    methods = strategy.get("auth_methods", _ALL_METHODS)
    methods = (methods,) if isinstance(methods, str) else methods if isinstance(methods, list | tuple) else ()
    named = tuple(str(method) for method in methods)
    yield from provider_findings(path, strategy, named)
    yield from introspection_findings(path, strategy)
    if methods and all(method == "session" for method in methods):
        yield Problem(
            (*path, "auth_methods"),
            "session alone",
            "another method beside it, or nothing could open a session",
            "[bearer, session]",
        )
    yield from _endpoints(path, strategy, named)
    yield from _token_params(path, strategy)
    yield from audience_findings(path, strategy, named)
    yield from upstream_findings(path, strategy, named)


def _urls(path: Path, strategy: Document) -> Iterator[tuple[Path, object]]:
    for name in ("issuer", "jwks_uri", "token_endpoint", "introspection_endpoint"):
        yield (*path, name), strategy.get(name)
    registration = strategy.get("registration")
    if isinstance(registration, Mapping):
        yield (*path, "registration", "endpoint"), registration.get("endpoint")
    others = strategy.get("additional_issuers")
    others = (others,) if isinstance(others, str) else others if isinstance(others, list | tuple) else ()
    for index, url in enumerate(others):
        yield (*path, "additional_issuers", index), url


def _endpoints(path: Path, strategy: Document, methods: tuple[str, ...]) -> Iterator[Finding]:
    keys, tokens = strategy.get("jwks_uri"), strategy.get("token_endpoint")
    if strategy.get("discovery", keys is None) is not False:
        return
    if keys is None:
        yield Problem(
            (*path, "jwks_uri"),
            "nothing",
            "where the keys are, since discovery is off",
            "https://idp.example.com/jwks",
        )
    if tokens is None and "client_credentials" in methods:
        yield Problem(
            (*path, "token_endpoint"),
            "nothing",
            "where client credentials are proved, since discovery is off (or discovery: true, or "
            "auth_methods without client_credentials)",
            "https://idp.example.com/token",
        )
    if introspects(strategy) and strategy.get("introspection_endpoint") is None:
        yield Problem(
            (*path, "introspection_endpoint"),
            "nothing",
            "where tokens are asked about, since discovery is off",
            "https://idp.example.com/introspect",
        )


def _token_params(path: Path, strategy: Document) -> Iterator[Finding]:
    params = strategy.get("token_params")
    if not isinstance(params, Mapping):
        return
    for name in _RESERVED_PARAMS:
        if name in params:
            yield Problem(
                (*path, "token_params", name),
                "a parameter that the grant itself sets",
                "other parameters only",
                "organization: org_123",
            )
    if "scope" in params and strategy.get("scopes"):
        yield Problem((*path, "token_params", "scope"), "both scopes and this", "scopes alone", "scopes: [orders]")


def _applications(entries: object, strategies: Document) -> Iterator[Finding]:
    if not isinstance(entries, list | tuple):
        return
    ids: dict[str, int] = {}
    clients: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            continue
        path: Path = ("applications", index)
        identifier, strategy, client = (entry.get(name) for name in ("id", "strategy", "client_id"))
        if isinstance(identifier, str) and (first := ids.setdefault(identifier, index)) != index:
            at = (*path, "id")
            yield Problem(at, shown(at, identifier), f"an id that applications.{first} does not have already")
        if isinstance(strategy, str):
            at = (*path, "strategy")
            if strategy not in strategies:
                yield Problem(at, shown(at, strategy), one_of(strategies, strategy))
            if isinstance(client, str):
                key = (strategy, canonical_client_id(client))
                if (first := clients.setdefault(key, index)) != index:
                    at = (*path, "client_id")
                    yield Problem(
                        at, shown(at, client), f"a client id that applications.{first} does not have already"
                    )
        yield from _repeated((*path, "registrations"), entry.get("registrations"), "each service once")
        yield from _repeated((*path, "groups"), entry.get("groups"), "each group once")


def _repeated(path: Path, entries: object, expected: str) -> Iterator[Finding]:
    if not isinstance(entries, list | tuple):
        return
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        name = entry.get("service") if isinstance(entry, Mapping) else entry
        if isinstance(name, str):
            if name in seen:
                at = (*path, index)
                yield Problem(at, shown(at, name), expected)
            seen.add(name)
