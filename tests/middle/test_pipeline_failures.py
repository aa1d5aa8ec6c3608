"""Whatever goes wrong is 503, said in the log and never kept; nothing unexpected is ever an allow."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from support_pipeline import Failing, Kitchen, app, proof, scripted

from validator.errors import AuthError, Denied, Unavailable
from validator.model import Method, Reason
from validator.testing import ManualClock


@pytest.mark.parametrize("later", [False, True], ids=["at once", "after asking"])
@pytest.mark.parametrize(
    "error", [RuntimeError("bug"), KeyError("x"), AssertionError(), RecursionError()], ids=repr
)
async def test_an_unexpected_error_is_503_and_logged(kitchen: Kitchen, error: Exception, later: bool) -> None:
    scripted(kitchen, None if later else error, error)
    for _ in range(2):
        with capture_logs() as logs:
            seen = await kitchen.ask("token")
        assert seen.said == (503, "store_unavailable")
        assert "retry-after" in seen.headers
        assert [(line["event"], line["log_level"]) for line in logs] == [
            ("judgement failed", "error"),
            ("unavailable", "warning"),
        ]
    assert kitchen.replayed == 0


@pytest.mark.parametrize("part", ["registry", "revocations"])
@pytest.mark.parametrize(
    "error", [RuntimeError("bug"), Unavailable(Reason.STORE_UNAVAILABLE, "loading")], ids=repr
)
async def test_a_store_that_cannot_answer_is_503_and_never_kept(
    kitchen: Kitchen, clock: ManualClock, part: str, error: Exception
) -> None:
    made = scripted(kitchen, proof(clock))
    assert (await kitchen.ask("token")).status == 200
    kitchen.reload({"plain": {"authenticators": {Method.BEARER: made}}}, **{part: Failing(error)})
    kitchen.caches.epoch.touch_all()
    for _ in range(2):
        assert (await kitchen.ask("token")).said == (503, "store_unavailable")
    assert kitchen.replayed == 0
    kitchen.reload({"plain": {"authenticators": {Method.BEARER: made}}})
    assert (await kitchen.ask("token")).status == 200, "healed at once"


@pytest.mark.parametrize(
    "error",
    [Unavailable(Reason.IDP_UNAVAILABLE, retry_after_s=7), Denied(Reason.TOO_MANY_ATTEMPTS, retry_after_s=7)],
    ids=str,
)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "after asking"])
async def test_what_says_nothing_of_the_credential_is_never_kept(
    kitchen: Kitchen, clock: ManualClock, error: AuthError, later: bool
) -> None:
    made = scripted(kitchen, None if later else error, error)
    seen = await kitchen.ask("token")
    assert (seen.status, seen.headers["retry-after"]) == (error.reason.status, "7")
    assert seen.reply.deadline <= clock.now()
    made.now, made.later = None, proof(clock)
    assert (await kitchen.ask("token")).status == 200


async def test_an_application_that_cannot_be_written_down_is_503(kitchen: Kitchen, clock: ManualClock) -> None:
    scripted(kitchen, proof(clock))
    kitchen.registry.apply(replace(app(), name="two\r\nlines"))
    assert (await kitchen.ask("token")).said == (503, "store_unavailable")


async def test_a_key_withdrawn_in_the_turn_in_which_it_verified_opens_nothing(
    kitchen: Kitchen, clock: ManualClock
) -> None:
    made = scripted(kitchen, None, proof(clock))
    made.holds = False
    for _ in range(2):
        assert (await kitchen.ask("token")).said == (401, "key_unknown")
