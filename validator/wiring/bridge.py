"""The HTTP DCR bridge's parts, from settings.

Law of this file: construction and translation; it decides nothing about a client. What the bridge remembers
survives a reload, what it goes by is built anew.
"""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import urlsplit

from validator.core.registration import RegistrationRefused
from validator.core.sealing import KEY_BYTES, Sealer, derived_key
from validator.dcr.bridge import Bridge
from validator.dcr.okta import OktaRegistrar
from validator.dcr.plan import Plan, Registering
from validator.dcr.registrar import ClientRegistrar
from validator.dcr.rfc7591 import Rfc7591Registrar
from validator.model import ClientCredentials, RegistrationStatus
from validator.ports import ClientRecords, Clock
from validator.server.metrics import IdpMeter
from validator.settings import Settings, Strategy
from validator.settings.bridge import AdapterName, ClientRegistration, Dcr
from validator.wiring import parts
from validator.wiring.providers import Provider, Providers

_PURPOSE = "registered clients"


class DcrBridge:
    """The bridge through reloads.

    Attributes:
        bridge: what Konnect's calls do.
    """

    def __init__(
        self,
        dcr: Dcr,
        *,
        store: ClientRecords,
        clock: Clock,
        vouch: Callable[[str, ClientCredentials], None],
    ) -> None:
        self._dcr: Dcr | None = dcr
        self._plan: Plan | None = None
        self._own_key = secrets.token_bytes(KEY_BYTES)  # where nothing durable is kept, nothing durable opens it
        self.bridge = Bridge(
            store=store,
            clock=clock,
            plan=self._present_plan,
            purge=store.forget_cached,
            vouch=vouch,
            retry_window_s=dcr.retry_window_s,
        )

    def api_keys(self) -> Sequence[str]:
        """Those that are accepted now; none once the configuration has no bridge any more."""
        if self._dcr is None:
            return []
        return [key.get_secret_value() for key in self._dcr.api_keys]

    async def configure(self, settings: Settings, providers: Providers, metrics: IdpMeter) -> None:
        """Goes by these settings from the next call on.

        Raises:
            ValueError: an identity provider's ``ca_file`` cannot be used; nothing has changed then.
        """
        dcr = settings.dcr
        if dcr is None:
            self._dcr = None
            return
        registering: dict[str, Registering] = {}
        for name in served(settings):
            strategy = settings.strategies[name]
            place = parts.trusted_places(strategy)[0]
            provider = await providers.get(strategy, place.place, settings, metrics)
            registering[name] = Registering(
                _registrar(strategy, provider),
                strategy.token_endpoint_auth_method,
                parts.grant_options(strategy, place).scopes,
            )
        self._dcr = dcr
        self._plan = Plan(
            registering=registering,
            sealer=self._sealer(settings, dcr),
            default=_default(settings),
            strategies=dcr.strategies,
            services=dcr.services,
            status=RegistrationStatus(dcr.registration_status),
        )

    def _present_plan(self) -> Plan:
        assert self._plan is not None  # noqa: S101 - configured before anybody can call
        return self._plan

    def _sealer(self, settings: Settings, dcr: Dcr) -> Sealer:
        own = [key.get_secret_value() for key in dcr.sealing_keys]
        # The first seals, all open: also what was sealed before there were keys for it alone.
        derived = [derived_key(key.get_secret_value(), _PURPOSE) for key in settings.session.keys]
        return Sealer([*own, *derived] or [self._own_key], purpose=_PURPOSE)


def served(settings: Settings) -> tuple[str, ...]:
    """The strategies that the bridge registers clients under."""
    if settings.dcr is None:
        return ()
    named = [_default(settings), *settings.dcr.strategies.values()]
    return tuple(dict.fromkeys(name for name in named if name is not None))


def _default(settings: Settings) -> str | None:
    dcr = settings.dcr
    if dcr is not None and (dcr.strategy is not None or dcr.strategies):
        return dcr.strategy  # whoever maps ids refuses those that he did not map, unless he says where they belong
    return next(iter(settings.strategies)) if len(settings.strategies) == 1 else None


def _registrar(strategy: Strategy, provider: Provider) -> ClientRegistrar:
    token = strategy.registration.initial_access_token if strategy.registration is not None else None
    secret = token.get_secret_value() if token is not None else None
    http = provider.registration_http
    adapter, endpoint = registered_by(strategy)
    if adapter == "okta":
        assert endpoint is not None  # noqa: S101 - follows from the issuer
        return OktaRegistrar(http, clients=endpoint, api_token=secret or "")
    return Rfc7591Registrar(http, endpoint=partial(_found, endpoint, provider), initial_access_token=secret)


def registered_by(strategy: Strategy) -> tuple[AdapterName, str | None]:
    """How clients of a strategy are registered, and where; ``None``: where the issuer's metadata says."""
    registration = strategy.registration or ClientRegistration()
    adapter = registration.adapter or ("okta" if strategy.idp == "okta" else "rfc7591")
    implied = _okta_clients(strategy.issuer) if adapter == "okta" else None
    return adapter, registration.endpoint or implied


def _okta_clients(issuer: str) -> str:
    parts_ = urlsplit(issuer)
    return f"{parts_.scheme}://{parts_.netloc}/oauth2/v1/clients"


async def _found(configured: str | None, provider: Provider) -> str:
    if configured is not None:
        return configured
    endpoint = (await provider.issuer.known()).registration_endpoint
    if endpoint is None:
        raise RegistrationRefused(
            "no_registration_endpoint",
            "the identity provider's metadata names no registration_endpoint: switch dynamic registration on "
            "there, or set registration.endpoint of the strategy",
        )
    return endpoint
