"""Groups of an application in the control plane: written, read, put back, and told what is wrong with them."""

import pytest
from blockbuster import blockbuster_ctx
from control_support import A_NEW, Running, serving

ONE = "/v1/applications/app-1"


@pytest.fixture
async def control():
    with blockbuster_ctx("validator"):
        async with serving(Running()) as running:
            yield running


async def test_written_and_read_in_their_order(control):
    status, made = await control.ask("POST", "/v1/applications", {**A_NEW, "groups": ["internal", "gold"]})
    assert (status, made["groups"]) == (201, ["internal", "gold"])
    assert control.memory.find("plain", "c1").groups == ("internal", "gold")
    assert (await control.ask("GET", ONE))[1] == made
    assert (await control.ask("GET", "/v1/applications"))[1]["applications"] == [made]


async def test_what_was_read_can_be_put_back_and_left_out_they_are_gone(control):
    _, made = await control.ask("POST", "/v1/applications", {**A_NEW, "groups": ["gold"]})
    assert await control.ask("PUT", ONE, made) == (200, made)
    assert control.memory.get("app-1").groups == ("gold",)
    assert (await control.ask("PUT", ONE, {**made, "groups": ["a", "b"]}))[1]["groups"] == ["a", "b"]
    assert (await control.ask("PUT", f"{ONE}/registrations/more", {"status": "pending"}))[1]["groups"] == [
        "a",
        "b",
    ]
    assert (await control.ask("PUT", ONE, A_NEW))[1]["groups"] == []
    assert control.memory.get("app-1").groups == ()


@pytest.mark.parametrize(
    "groups", [[], ["g" * 128], [f"g{number}" for number in range(32)], ["!#$%&'*+-./:;<=>?@~"]]
)
async def test_what_fits(control, groups):
    status, made = await control.ask("POST", "/v1/applications", {**A_NEW, "groups": groups})
    assert (status, made["groups"]) == (201, groups)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_every_mistake_has_its_pointer(control, method):
    path = "/v1/applications" if method == "POST" else ONE
    groups = ["gold", "a,b", "a b", "", "g" * 129, "größe", "a\r\nX-Evil: 1", "gold", 7, None, "a\u0000"]
    found = await control.mistakes(method, path, {**A_NEW, "groups": groups})
    assert set(found) == {f"/groups/{position}" for position in range(1, 11)}
    assert found["/groups/1"] == "must be visible ASCII characters without spaces and commas"
    assert found["/groups/7"] == "this group is already named above"
    assert control.registry.list() == []


@pytest.mark.parametrize(
    "groups", ["gold", {"gold": True}, None, 7, [f"g{number}" for number in range(33)]], ids=str
)
async def test_what_is_no_list_of_them(control, groups):
    assert set(await control.mistakes("POST", "/v1/applications", {**A_NEW, "groups": groups})) == {"/groups"}


async def test_they_are_described(control):
    schemas = (await control.ask("GET", "/openapi.json"))[1]["components"]["schemas"]
    written = schemas["ApplicationBody"]["properties"]["groups"]
    assert (written["type"], written["maxItems"]) == ("array", 32)
    assert (written["items"]["minLength"], written["items"]["maxLength"]) == (1, 128)
    assert "groups" not in schemas["ApplicationBody"]["required"]
    assert "groups" in schemas["ApplicationView"]["required"]
