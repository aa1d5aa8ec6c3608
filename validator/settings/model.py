"""The whole configuration as one frozen, checked value.

Law of this file: a ``Settings`` that exists can be served. Read from a file it was checked there, with lines;
built in code it is checked here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from validator.model import Application
from validator.settings.applications import ApplicationEntry
from validator.settings.bridge import Dcr
from validator.settings.checks import findings
from validator.settings.mistakes import Notice, Problem, dotted
from validator.settings.redis import Redis
from validator.settings.sections import (
    Cache,
    Control,
    Keys,
    Limits,
    Listen,
    Log,
    Outbound,
    Session,
    Store,
    Throttle,
)
from validator.settings.strategies import Strategy
from validator.settings.values import Section, StrategyName


@dataclass(frozen=True, slots=True)
class Checked:
    """The validation context that says: the rules between settings were checked, with these warnings."""

    warnings: tuple[Notice, ...]


class Settings(Section):
    """Everything that the sidecar is told. Durations are in seconds and their names end in ``_s``."""

    listen: Listen = Field(default_factory=Listen, description="where the two planes listen")
    control: Control = Field(default_factory=Control, description="who may use the control plane")
    strategies: Mapping[StrategyName, Strategy] = Field(
        min_length=1,
        examples=[{"plain": {"idp": "generic", "issuer": "https://idp.example.com"}}],
        description="at least one application auth strategy, by name",
    )
    applications: tuple[ApplicationEntry, ...] = Field(
        default=(), description="applications that are known without the control plane"
    )
    dcr: Dcr | None = Field(
        default=None,
        examples=[{"api_keys_file": "/run/secrets/dcr-api-keys"}],
        description="Konnect's HTTP DCR bridge; without this section there is none",
    )
    session: Session = Field(default_factory=Session, description="the session cookie")
    cache: Cache = Field(default_factory=Cache, description="how long an answer is believed")
    throttle: Throttle = Field(default_factory=Throttle, description="guessing of client secrets")
    keys: Keys = Field(default_factory=Keys, description="the issuers' key sets")
    outbound: Outbound = Field(default_factory=Outbound, description="calls to each identity provider")
    limits: Limits = Field(default_factory=Limits, description="bounds of the data plane")
    redis: Redis | None = Field(
        default=None,
        examples=[{"url": "rediss://redis.example.com:6379"}],
        description="what several sidecars share; without this section each stands for itself",
    )
    store: Store = Field(default_factory=Store, description="the embedded registry")
    log: Log = Field(default_factory=Log, description="what is logged")

    _warnings: tuple[Notice, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """What a reader of the configuration should know, each with its line where there is one."""
        return self._warnings

    def file_applications(self) -> tuple[Application, ...]:
        """The applications as the registry holds them, of origin ``file``."""
        return tuple(entry.application() for entry in self.applications)

    @model_validator(mode="after")
    def _between(self, info: ValidationInfo) -> Self:
        if isinstance(info.context, Checked):
            self._warnings = info.context.warnings
            return self
        for file, content in self._unread_files():
            raise ValueError(f"{file}: its content must be given as {content}")
        # As it was written: a default contradicts nothing.
        written = self.model_dump(mode="json", exclude_unset=True)
        if self.redis:  # the dump shows it without user name and password
            written["redis"]["url"] = self.redis.url.get_secret_value()
        found = list(findings(written))
        problems = [item for item in found if isinstance(item, Problem)]
        if problems:
            raise ValueError(
                "; ".join(
                    f"{dotted(item.path)}: found {item.found}, expected {item.expected}" for item in problems
                )
            )
        self._warnings = tuple(
            Notice("settings", None, dotted(item.path), item.text)
            for item in found
            if not isinstance(item, Problem)
        )
        return self

    def _unread_files(self) -> Iterator[tuple[str, str]]:
        """Whoever reads a secret's file gives its content too; a path alone would mean: no secret at all."""
        places: list[tuple[str, Section | None, str]] = [
            ("control", self.control, "token"),
            ("session", self.session, "keys"),
            ("dcr", self.dcr, "api_keys"),
            ("dcr", self.dcr, "sealing_keys"),
            ("redis", self.redis, "password"),
            ("redis", self.redis, "sentinel_password"),
        ]
        for name, strategy in self.strategies.items():
            at = f"strategies.{name}"
            places.append((f"{at}.introspection", strategy.introspection, "client_secret"))
            places.append((f"{at}.registration", strategy.registration, "initial_access_token"))
        for at, section, content in places:
            if getattr(section, f"{content}_file", None) and not getattr(section, content):
                yield f"{at}.{content}_file", f"{at}.{content}"
