"""Each identity provider by each method, from its own token endpoint to the answer that a gateway gets. What
passes here is a cell of the README's table."""

import pytest
from identity_providers import table
from identity_providers.gate import row_gate
from identity_providers.rows import METHODS, ROWS, Row
from sidecar_support import basic, bearer


def cells(*methods: str) -> pytest.MarkDecorator:
    """Each row by these methods, known to the table."""
    return pytest.mark.parametrize(
        ("row", "method"),
        [
            pytest.param(
                row,
                method,
                marks=[
                    pytest.mark.provider_cell(row.shown, row.idp, method),
                    *([pytest.mark.programs] if row.real else []),
                ],
                id=f"{row.key}-{method}",
            )
            for row in ROWS
            for method in methods
            if method in row.methods
        ],
    )


@cells(*METHODS)
async def test_an_application_is_let_in(row: Row, method: str) -> None:
    async with row_gate(row) as (at, stage):
        headers = await at.credential(stage, method)
        for _ in range(2):  # judged, and replayed
            answer = await at.ask(headers)
            assert answer.verdict == (200, ""), answer
            assert answer.headers["X-Credential-Identifier"] == stage.client_id
            assert answer.headers["X-Application-Id"] == f"{stage.client_id}.s"
            assert answer.headers["X-Auth-Method"] == method
        assert (await at.ask(headers, "billing")).verdict == (403, "not_registered")


@cells("bearer")
async def test_a_token_that_was_altered_is_not(row: Row, method: str) -> None:
    async with row_gate(row) as (at, stage):
        token = await stage.token()
        for index in (1, len(token) // 2, len(token) - 2):
            other = "A" if token[index] != "A" else "B"
            answer = await at.ask(bearer(token[:index] + other + token[index + 1 :]))
            assert answer.status == 401, answer


@cells("client_credentials")
async def test_a_wrong_secret_is_not(row: Row, method: str) -> None:
    async with row_gate(row) as (at, stage):
        wrong = stage.secret[:-1]
        assert (await at.ask(basic(stage.client_id, wrong))).verdict == (401, "credentials_rejected")
        assert (await at.ask(basic("nobody", wrong))).verdict == (401, "credentials_rejected")
        assert (await at.ask(basic(stage.client_id, stage.secret))).verdict == (200, "")


@cells("session")
async def test_a_session_opens_its_own_strategy_alone(row: Row, method: str) -> None:
    async with row_gate(row) as (at, stage):
        cookie = await at.credential(stage, method)
        assert (await at.ask(cookie, strategy="t")).verdict == (401, "session_invalid")


@pytest.mark.programs
def test_the_readme_shows_what_is_tested() -> None:
    assert table.shown(table.README.read_text()) == table.collected(), "run scripts/provider-table"
