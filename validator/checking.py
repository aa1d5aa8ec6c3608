"""``validator check``: what a person reads about a configuration, and with ``--online`` about its issuers.

Law of this file: it prints and decides nothing that the sidecar would decide otherwise; issuers are reached by
the same parts.
"""

from pathlib import Path

from validator.adapters.clock import SystemClock
from validator.core.discovery import typed_issuer_differs
from validator.errors import Unavailable
from validator.issuers import Freshness, Issuer
from validator.model import Method
from validator.settings import Settings, Strategy
from validator.wiring import issuer_place, new_client

DONE, NO = 0, 1


async def report(settings: Settings, path: Path, *, online: bool) -> int:
    """Prints the warnings, and what the issuers say; returns the exit code."""
    for notice in settings.warnings:
        print(f"warning: {notice}")  # noqa: T201 - this is what a person reads
    failed = False
    if online:
        for name, strategy in settings.strategies.items():
            failed |= not await _reach(name, strategy, settings)
    if failed:
        return NO
    counted = f"{len(settings.strategies)} strategies, {len(settings.applications)} applications"
    print(f"{path}: no mistakes ({counted}, {len(settings.warnings)} warnings)")  # noqa: T201 - as above
    return DONE


async def _reach(name: str, strategy: Strategy, settings: Settings) -> bool:
    def say(text: str) -> None:
        print(f"strategy {name}: {text}")  # noqa: T201 - as above

    clock = SystemClock()
    try:
        http = new_client(strategy, settings, clock)
    except ValueError as error:
        say(f"NOT REACHED: {error}")
        return False
    issuer = Issuer(issuer_place(strategy), http=http, clock=clock, freshness=Freshness())
    try:
        metadata = await issuer.known()
        await issuer.tend()
    except Unavailable as error:
        say(f"NOT REACHED: {error.detail}")
        return False
    finally:
        await issuer.close()
        await http.close()
    reached = True
    say(f"issuer {metadata.issuer}")
    if typed_issuer_differs(strategy.issuer, metadata.issuer):
        say(f"note: the file says {strategy.issuer}; tokens must carry {metadata.issuer}")
    if issuer.keys is None:
        say(f"NO KEYS: {issuer.missing()}")
        reached = False
    else:
        names = ", ".join(key.kid or "(no kid)" for key in issuer.keys.keys)
        say(f"{len(issuer.keys.keys)} keys from {metadata.jwks_uri}: {names}")
        for why in issuer.keys.ignored:
            say(f"note: ignored {why}")
    if strategy.allows(Method.CLIENT_CREDENTIALS):
        if metadata.token_endpoint is None:
            say("NO TOKEN ENDPOINT: client_credentials cannot work; configure token_endpoint")
            reached = False
        else:
            supported = metadata.token_endpoint_auth_methods
            say(f"token endpoint {metadata.token_endpoint}, by {strategy.token_endpoint_auth_method}")
            if supported and strategy.token_endpoint_auth_method not in supported:
                say(f"note: the issuer says it supports {', '.join(supported)}")
    say(f"methods {', '.join(method.value for method in strategy.auth_methods)}")
    return reached
