"""What the modes of `untrusted_lua` (Kong 3.14) give to the streamed build: lax all it uses, strict too little.

Law of this file: STRICT_LACKS and STRICT_LACKS_MODULES are of what Kong's page on Lua sandboxing lists under lax
mode alone; the list of the test gateway's sandbox is lax mode's.
"""

import re
import subprocess

import pytest
from deploy_support import MODULES, ROOT
from streaming.names import outside
from streaming.sandbox import HANDLER, OPEN, REQUIRES, is_given

LUA = ROOT / "tests" / "gateway" / "lua"
OWN = "kong.plugins.credential-validator."
# Nil in every mode, and guarded where they are read.
NEVER, NEVER_MODULES = {"rawget"}, {"ngx.ssl"}
_STRICT_LACKS = """
kong.cache.get kong.cache.get_bulk kong.cache.invalidate kong.cache.invalidate_local kong.cache.probe
kong.cache.renew kong.cache.safe_set
kong.db.consumers.cache_key kong.db.consumers.select kong.db.consumers.select_by_cache_key
kong.db.consumers.select_by_custom_id kong.db.consumers.select_by_username
kong.dns.resolve kong.dns.toip kong.vault.get kong.vault.is_reference
ngx.config.debug ngx.location.capture ngx.req.get_body_file ngx.req.set_body_file
ngx.socket.connect ngx.socket.stream ngx.socket.tcp ngx.socket.udp
ngx.thread.kill ngx.thread.spawn ngx.thread.wait
"""
_STRICT_LACKS_MODULES = """
kong.concurrency pgmoon resty.dns.resolver resty.http resty.memcached resty.mysql resty.redis resty.session
"""
STRICT_LACKS = frozenset(_STRICT_LACKS.split())
STRICT_LACKS_MODULES = frozenset(_STRICT_LACKS_MODULES.split())


def used() -> set[str]:
    """The names that the modules take from Kong and from Lua, as members of what they are taken from."""
    found = [outside(path.read_text()) for path in MODULES.glob("*.lua") if path.stem != "schema"]
    return {use.name.replace(":", ".") for each in found for use in (*each.reads, *each.writes)}


def required() -> set[str]:
    found = [outside(path.read_text()) for path in MODULES.glob("*.lua") if path.stem != "schema"]
    return {use.name for each in found for use in (*each.requires, *each.tried_requires) if OWN not in use.name}


def lax() -> tuple[frozenset[str], set[str]]:
    """The names and the modules of the test gateway's sandbox."""
    script = (
        'local lists = require "sandbox_lists" '
        "for parent, names in pairs(lists.handler) do "
        'for name in names:gmatch "%S+" do print(parent == "" and name or parent .. "." .. name) end end '
        'for name in lists.modules.handler:gmatch "%S+" do print("require " .. name) end'
    )
    done = subprocess.run(
        ["luajit", "-e", script], cwd=LUA, capture_output=True, text=True, check=True, timeout=20
    )
    lines = set(done.stdout.splitlines())
    modules = {line.removeprefix("require ") for line in lines if line.startswith("require ")}
    # Tables that the sandbox makes by itself, with whatever members.
    return frozenset(line for line in lines if not line.startswith("require ")) | OPEN, modules


@pytest.mark.programs
def test_lax_has_every_name_that_the_plugin_uses() -> None:
    names, modules = lax()
    assert {name for name in used() if not is_given(name, names)} == NEVER
    assert required() - modules == NEVER_MODULES


@pytest.mark.programs
def test_the_builder_takes_no_name_that_lax_lacks() -> None:
    names, modules = lax()
    tables = {"kong.log", "ngx.arg", "ngx.headers_sent", "ngx.is_subrequest", "ngx.status"}  # of the sandbox's own
    assert {name for name in HANDLER - tables if not is_given(name, names)} == set()
    assert modules >= REQUIRES


@pytest.mark.programs
def test_lax_has_what_strict_lacks() -> None:
    names, modules = lax()
    assert names >= STRICT_LACKS
    assert modules >= STRICT_LACKS_MODULES


@pytest.mark.programs
def test_strict_lacks_the_network_and_the_cache_that_the_plugin_needs() -> None:
    """Where strict has all of it, docs/kong.md and data-plane.sh need not ask for lax."""
    names, _ = lax()
    strict = names - STRICT_LACKS
    lacking = {name for name in used() - NEVER if not is_given(name, strict)}
    assert lacking >= {"ngx.socket.tcp", "kong.cache.get", "kong.db.consumers.cache_key"}
    assert not required() & STRICT_LACKS_MODULES


def test_the_page_asks_for_lax_wherever_it_asks_for_streaming() -> None:
    page = (ROOT / "docs" / "kong.md").read_text()
    streamed = re.search(r"^### Streamed\n(.*?)^### ", page, re.DOTALL | re.MULTILINE)
    assert streamed is not None
    assert "untrusted_lua = lax" in streamed[1]
    assert "custom_plugin_streaming_enabled = on" in streamed[1]
