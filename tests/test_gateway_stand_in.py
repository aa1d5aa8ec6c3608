"""The stand-in for Kong by itself: that it answers as Kong does where the plugin's tests rest on it.

Law of this file: every promise here is one of Kong's; a plugin of its own makes them visible, and no sidecar is
asked.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway.gateway import PLUGIN_ROOT, Gateway, GatewayError, Neighbour, Route

pytestmark = pytest.mark.programs

ALICE = {"id": "0b7b21f6-8a4e-4e38-9d57-4f6a2f5b0c11", "username": "alice", "custom_id": "a-1"}
KEY = {"credential": {"id": "key-1"}}
GOLD = {"allow": ["gold"]}

# A plugin that tells everything it is asked for by the query, so that a test sees what Kong's kit gives it.
HANDLER = """
local tell = {}
function tell.consumer()
  local consumer, err = kong.cache:get(kong.db.consumers:cache_key("x"), { ttl = 0.01, neg_ttl = 0.01 }, function()
    return kong.db.consumers:select_by_custom_id("a-1")
  end)
  return consumer and consumer.username or err
end
function tell.loaded()
  local consumer, err = kong.client.load_consumer("alice", true)
  return consumer and consumer.id or err
end
function tell.version() return kong.version .. " " .. kong.version_num end
function tell.path() return kong.request.get_path() end
function tell.protocol() return kong.request.get_http_version() end
function tell.header() return kong.request.get_header("X-Some-Thing") or "none" end
function tell.early() return select(2, pcall(kong.response.get_header, "X")) end
function tell.foreign()
  return tostring(getmetatable) .. tostring(rawset) .. tostring(ngx.shared) .. tostring(require)
end
function tell.span()
  local span = kong.tracing.start_span("another")
  return tostring(span.is_recording) .. " " .. tostring(span.should_sample)
end
function tell.write() return select(2, pcall(function() kong.log.other = 1 end)) end
function tell.missing() return select(2, pcall(require, "io")) end
function tell.level()
  local seen = {}
  for at, answer in ipairs { "first", false, "second" } do
    local options = { ttl = 0.05, neg_ttl = 1, resurrect_ttl = 0.001 }
    local value, err, level = kong.cache:get("level", options, function()
      if answer then return answer end
      return nil, "down"
    end)
    seen[at] = (value or err) .. (level or "")
    ngx.sleep(0.06)
  end
  return table.concat(seen, " ")
end
local Handler = { VERSION = "1.0.0", PRIORITY = 1000 }
function Handler:access()
  local arguments = ngx.req.get_uri_args()
  if arguments.throw then error("thrown on purpose") end
  if arguments.value then
    kong.log.set_serialize_value("ours.value", arguments.value)
    kong.client.authenticate(nil, { id = "key-1", consumer_id = "c-1" })
  end
  if arguments.groups then
    kong.ctx.shared.authenticated_groups = { arguments.groups }
    if not kong.client.get_credential() then
      kong.client.authenticate(nil, { id = "key-1" })
    end
  end
  local span = kong.tracing.start_span("ours", { span_kind = 3 })
  span:set_attribute("a", 1)
  span:finish()
  if arguments.exit then
    return kong.response.exit(tonumber(arguments.exit), arguments.body and { message = arguments.body })
  end
  if arguments.tell then
    return kong.response.exit(200, tostring(tell[arguments.tell]()), { ["Content-Type"] = "text/plain" })
  end
end
function Handler:header_filter()
  kong.response.add_header("Set-Cookie", "session=1")
end
return Handler
"""
SCHEMA = """
return { name = "credential-validator", fields = { { config = { type = "record", fields = %s } } } }
"""


def plugin(directory: Path, fields: str = "{}", handler: str = HANDLER) -> Path:
    """A plugin of its own in ``directory``, in the place of ours."""
    files = directory / "kong" / "plugins" / "credential-validator"
    files.mkdir(parents=True)
    (files / "handler.lua").write_text(handler)
    (files / "schema.lua").write_text(SCHEMA % fields)
    return directory


ROUTES = [
    Route("/ours", "orders", {}, log=True),
    Route("/limited", "orders", {}, plugins=[Neighbour("rate-limiting", {"minute": 1, "limit_by": "credential"})]),
    Route("/acl", "orders", {}, plugins=[Neighbour("acl", GOLD)]),
    Route(
        "/ended", "orders", {}, plugins=[Neighbour("request-termination", {"status_code": 503, "message": "no"})]
    ),
    Route("/cached", "orders", {}, plugins=[Neighbour("proxy-cache")]),
    Route("/broken", "orders", {}, plugins=[Neighbour("broken")]),
    Route(
        "/before",
        "orders",
        {},
        authenticated=KEY | {"consumer": ALICE},
        plugins=[Neighbour("acl", GOLD)],
        log=True,
    ),
    Route("/traced", "orders", {}, sampled=True),
    Route("/unsampled", "orders", {}, sampled=False),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = plugin(tmp_path_factory.mktemp("plugin"))
    opened = Gateway(ROUTES, plugin_root=root, consumers=[ALICE], everywhere="/ours")
    with opened:
        yield opened


@pytest.fixture(scope="module")
def sandboxed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = plugin(tmp_path_factory.mktemp("plugin"))
    opened = Gateway(ROUTES, plugin_root=root, consumers=[ALICE], sandboxed=True, kong_version="3.0.0")
    with opened:
        yield opened


def curl(
    gateway: Gateway, target: str, *options: str, http2: bool = False
) -> tuple[int, list[tuple[str, str]], str]:
    """Status, headers and body."""
    reach = ["--http2-prior-knowledge", "--unix-socket", str(gateway.http2_socket)] if http2 else []
    command = ["curl", "-sS", "-i", "--max-time", "10", *reach, *options, gateway.url + target]
    head, _, body = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n\n")
    first, *lines = head.splitlines()
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return int(first.split()[1]), headers, body


def entry_of(gateway: Gateway, target: str) -> dict[str, Any]:
    """What was logged of the request: by the next answer of the only worker it has been written."""
    curl(gateway, "/ours")
    (entry,) = (entry for entry in gateway.logged() if entry["request"]["uri"] == target)
    return entry


def told(gateway: Gateway, what: str, *options: str, path: str = "/ours") -> str:
    status, _, body = curl(gateway, f"{path}?tell={what}", *options)
    assert status == 200, body
    return body


def test_grpc_request_is_answered_without_a_body(gateway: Gateway) -> None:
    grpc = ["-H", "Content-Type: application/grpc+proto"]
    status, headers, body = curl(gateway, "/ours?exit=401", *grpc, http2=True)
    said = dict(headers)
    assert (status, body) == (401, "")
    assert (said["grpc-status"], said["grpc-message"], said["content-length"]) == ("16", "Unauthenticated", "0")
    assert "content-type" not in said
    assert dict(curl(gateway, "/ours?exit=429&body=slow", *grpc, http2=True)[1])["grpc-message"] == "slow"
    assert "grpc-status" not in dict(curl(gateway, "/ours?exit=401&body=x", *grpc)[1])  # over HTTP/1.1 it is none


def test_exit_with_a_table_is_json(gateway: Gateway) -> None:
    status, headers, body = curl(gateway, "/ours?exit=403&body=no")
    assert (status, json.loads(body)) == (403, {"message": "no"})
    assert dict(headers)["content-type"] == "application/json; charset=utf-8"


def test_header_filter_sees_every_answer(gateway: Gateway) -> None:
    for target in ("/ours", "/ours?exit=401", "/ended", "/broken", "/ours?throw=1"):
        assert ("set-cookie", "session=1") in curl(gateway, target)[1], target
    not_a_request = curl(gateway, "/acl", "-H", "Authorization: a", "-H", "Authorization: b")
    assert not_a_request[0] == 400
    assert ("set-cookie", "session=1") in not_a_request[1]  # of the plugin that is there for all routes


def test_header_filter_sees_an_upstream_that_is_down(tmp_path: Path) -> None:
    down = Gateway(ROUTES, plugin_root=plugin(tmp_path), upstream_url="http://127.0.0.1:1")
    with down:
        status, headers, body = curl(down, "/acl?groups=gold")
    assert status == 502
    assert ("set-cookie", "session=1") in headers
    assert json.loads(body)["message"] == "An invalid response was received from the upstream server"


def test_plugin_that_throws_costs_a_500(gateway: Gateway) -> None:
    status, _, body = curl(gateway, "/ours?throw=1")
    assert (status, json.loads(body)["message"]) == (500, "An unexpected error occurred")
    assert "thrown on purpose" in gateway.error_log()


def test_database_fails_and_recovers(gateway: Gateway) -> None:
    assert told(gateway, "loaded") == ALICE["id"]
    gateway.break_database("[postgres] connection refused")
    try:
        assert told(gateway, "loaded") == "[postgres] connection refused"
        assert told(gateway, "consumer") == "failed to get from node cache: [postgres] connection refused"
    finally:
        gateway.break_database(None)
    assert told(gateway, "consumer") == "alice"


@pytest.mark.parametrize(
    ("opened", "levels"), [("gateway", "first3 first4 second3"), ("sandboxed", "first first second")]
)
def test_stale_value_is_revived_as_level_4(request: pytest.FixtureRequest, opened: str, levels: str) -> None:
    assert told(request.getfixturevalue(opened), "level") == levels  # 3.0 tells no level


@pytest.mark.parametrize(
    ("target", "path"), [("//a/./b/../c%7e", "/a/c~"), ("/a%2Fb?x=/../", "/a%2Fb"), ("/", "/"), ("/a/", "/a/")]
)
def test_path_is_normalized(gateway: Gateway, target: str, path: str) -> None:
    separator = "&" if "?" in target else "?"
    body = curl(gateway, f"/ours{target}{separator}tell=path", "--path-as-is")[2]
    assert body == "/ours" + path


def test_header_is_found_under_any_spelling(gateway: Gateway) -> None:
    assert told(gateway, "header", "-H", "X_Some-Thing: 1") == "1"


def test_function_in_a_wrong_phase_throws(gateway: Gateway) -> None:
    assert "function cannot be called in access phase (only in: response, header_filter" in told(gateway, "early")


def test_version(gateway: Gateway, sandboxed: Gateway) -> None:
    assert told(gateway, "version") == "3.9.1 3009001"
    assert told(sandboxed, "version") == "3.0.0 3000000"


def test_logged_entry(gateway: Gateway) -> None:
    curl(gateway, "/ours?value=x", "-H", "Authorization: Bearer secret")
    entry = entry_of(gateway, "/ours?value=x")
    assert entry["ours"] == {"value": "x"}
    assert entry["authenticated_entity"] == {"id": "key-1", "consumer_id": "c-1"}
    assert entry["request"]["headers"]["authorization"] == "REDACTED"
    assert entry["source"] == "upstream"


def test_acl_prefers_the_groups_of_a_known_consumer(gateway: Gateway) -> None:
    assert curl(gateway, "/acl")[0] == 401
    assert curl(gateway, "/acl?groups=silver")[0] == 403
    status, _, body = curl(gateway, "/acl?groups=gold")
    assert status == 200
    assert ["X-Authenticated-Groups", "gold"] in json.loads(body)["headers"]
    assert curl(gateway, "/before?groups=gold")[0] == 403
    assert entry_of(gateway, "/before?groups=gold")["consumer"]["username"] == "alice"


def test_rate_limit_of_a_credential(gateway: Gateway) -> None:
    assert [curl(gateway, "/limited?groups=g")[0] for _ in range(2)] == [200, 429]


def test_proxy_cache_replays_the_cookies_of_whoever_came_first(gateway: Gateway) -> None:
    first, second = (dict(curl(gateway, "/cached?set_cookie=theirs=1")[1]) for _ in range(2))
    assert (first["x-cache-status"], second["x-cache-status"]) == ("Miss", "Hit")
    cookies = [value for name, value in curl(gateway, "/cached?set_cookie=theirs=1")[1] if name == "set-cookie"]
    assert cookies == ["theirs=1", "session=1", "session=1"]  # one is stored, one is of this answer


def test_spans(gateway: Gateway) -> None:
    curl(gateway, "/traced")
    curl(gateway, "/unsampled")
    spans = gateway.spans(3)
    root, plugin_span, ours = (span for span in spans if span["sampled"])
    assert [root["name"], plugin_span["name"]] == ["kong", "kong.access.plugin.credential-validator"]
    assert (ours["kind"], ours["attributes"], ours["ended"], ours["sampled"]) == (3, {"a": 1}, True, True)
    assert ours["trace_id"] == root["trace_id"]
    assert ours["parent_id"] == plugin_span["span_id"]
    curl(gateway, "/ours")
    assert {span["sampled"] for span in gateway.spans(6)} == {True, False}


def test_spans_of_an_old_kong_are_made_for_sampled_requests_alone(sandboxed: Gateway) -> None:
    curl(sandboxed, "/unsampled")
    curl(sandboxed, "/traced")
    assert {span["sampled"] for span in sandboxed.spans(3)} == {True}


def test_span_of_a_request_that_is_not_sampled(gateway: Gateway, sandboxed: Gateway) -> None:
    assert told(gateway, "span", path="/unsampled") == "nil false"  # a real one
    assert told(sandboxed, "span", path="/unsampled") == "false nil"  # the empty one, as where nothing is traced
    assert told(gateway, "span") == "false nil"


def test_sandbox_has_only_what_is_listed(sandboxed: Gateway) -> None:
    globals_, _, required = told(sandboxed, "foreign").rpartition("nil")
    assert globals_ == "nilnil"
    assert required.startswith("function")
    assert "Cannot modify kong.log.other. Protected by the sandbox." in told(sandboxed, "write")
    assert "require 'io' not allowed within sandbox" in told(sandboxed, "missing")
    assert told(sandboxed, "consumer") == "alice"


@pytest.mark.parametrize(
    ("fields", "version", "said"),
    [
        (
            '{ { a = { type = "string", description = "What it is for." } } }',
            "3.3.0",
            "a: unknown field 'description'",
        ),
        (
            '{ { a = { type = "string", description = "short" } } }',
            "3.4.0",
            "description: length must be at least 10",
        ),
        ('{ { a = { type = "string", between = { 1, 2 } } } }', "3.9.1", "cannot have attribute 'between'"),
        ('{ { a = { type = "array" } } }', "3.9.1", "must declare 'elements'"),
        ('{ { a = { type = "integer", referenceable = true } } }', "3.9.1", "only strings"),
    ],
)
def test_schema_that_kong_would_not_load(tmp_path: Path, fields: str, version: str, said: str) -> None:
    wrong = Gateway([Route("/", "s", {})], plugin_root=plugin(tmp_path, fields), kong_version=version)
    with pytest.raises(GatewayError, match=said):
        wrong.start()


CHECKED = """{
  { list = { type = "array", len_max = 2, elements = { type = "string", match_any = {
    patterns = { "^a", "^b" }, err = "must begin with a or b" } } } },
  { inner = { type = "record", fields = { { size = { type = "integer", gt = 0 } } } } },
  { by = { type = "string", one_of = { "x", "y" } } },
  { left = { type = "string", referenceable = true, match_none = { { pattern = " ", err = "no blanks" } } } },
  { right = { type = "string" } },
}"""


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"list": ["a", "c"]}, r"config.config.list\[2\]: must begin with a or b"),
        ({"list": ["a", "b", "a"]}, "list: length must be at most 2"),
        ({"inner": {"size": 0}}, "inner.size: value must be greater than 0"),
        ({"inner": {"sise": 1}}, "inner.sise: unknown field"),
        ({"by": "z"}, "by: expected one of: x, y"),
        ({"left": "a b", "right": "c"}, "left: no blanks"),
        ({"left": "a"}, "all or none of these fields must be set: 'left', 'right'"),
        ({"right": ""}, "right: length must be at least 1"),
    ],
)
def test_configuration_that_kong_would_refuse(tmp_path: Path, config: dict[str, object], said: str) -> None:
    checks = '{ { mutually_required = { "left", "right" } } }'
    fields = f'{{ {{ config = {{ type = "record", fields = {CHECKED}, entity_checks = {checks} }} }} }}'
    wrong = Gateway([Route("/", "s", {"config": config})], plugin_root=plugin(tmp_path, fields))
    with pytest.raises(GatewayError, match=said):
        wrong.start()


def test_what_a_vault_holds_is_not_checked(tmp_path: Path) -> None:
    checks = '{ { mutually_required = { "left", "right" } } }'
    fields = f'{{ {{ config = {{ type = "record", fields = {CHECKED}, entity_checks = {checks} }} }} }}'
    config = {"config": {"left": "{vault://env/a b}"}}
    with Gateway([Route("/", "s", config)], plugin_root=plugin(tmp_path, fields)) as opened:
        assert curl(opened, "/")[0] == 200


def test_plugin_of_this_project_is_the_default() -> None:
    assert (PLUGIN_ROOT / "kong" / "plugins" / "credential-validator" / "handler.lua").exists()
