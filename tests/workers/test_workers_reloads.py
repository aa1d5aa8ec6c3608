"""What a worker that is replaced after a reload begins with."""

import pytest
from sidecar_process import configuration

from validator.settings import Settings
from validator.workers.supervisor import _until_restart

TLS = {"certificate_file": "/c.pem", "key_file": "/k.pem"}
REDIS = {"url": "redis://127.0.0.1:6379"}


def settings(tls: dict[str, str] | None, redis: dict[str, str] | None) -> Settings:
    listen = {"data": "127.0.0.1:0", "control": "127.0.0.1:0", **({"data_tls": tls} if tls else {})}
    more = {"redis": redis} if redis else {}
    return Settings.model_validate(configuration("http://127.0.0.1:1", listen=listen, **more))


@pytest.mark.parametrize(("before", "after"), [(None, TLS), (TLS, None)])
def test_tls_begins_and_ends_with_a_restart(before: dict[str, str] | None, after: dict[str, str] | None) -> None:
    started = settings(before, None)
    assert _until_restart(started, settings(after, None)).listen == started.listen


def test_another_certificate_needs_none() -> None:
    other = {**TLS, "certificate_file": "/other.pem"}
    found = _until_restart(settings(TLS, None), settings(other, None)).listen.data_tls
    assert found is not None
    assert found.certificate_file == "/other.pem"


@pytest.mark.parametrize(
    ("before", "after"), [(None, REDIS), (REDIS, None), (REDIS, {"url": "redis://127.0.0.1:1"})]
)
def test_redis_is_the_one_of_the_start(before: dict[str, str] | None, after: dict[str, str] | None) -> None:
    started = settings(None, before)
    assert _until_restart(started, settings(None, after)).redis == started.redis
