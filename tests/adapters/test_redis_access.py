"""Who is let in by a Redis: passwords, users, certificates; and what an operator is told otherwise."""

import pytest
from blockbuster import blockbuster_ctx
from redis_servers import RedisServer, one
from redis_support import KEY, linked, refused, said
from tls_support import Authority

from validator.adapters.redis_link import RedisEndpoint, RedisLink, Script

pytestmark = pytest.mark.programs

SECRET = "p4ss:w/rd@"
OURS, THEIRS = Authority("ours"), Authority("theirs")


@pytest.fixture(scope="module")
def server():
    with one() as running:
        yield running


async def test_who_is_let_in() -> None:
    acl = ["user reader on >reader ~* +echo +get"]
    with one(password=SECRET, acl=acl) as server:
        async with linked(server.url) as link:
            assert await said(link, "hello") == b"hello"
        async with linked(f"redis://{server.host}") as link:
            await refused(said(link, "x"), "asks for a password", "redis.password")
        async with linked(RedisEndpoint.parse(server.url, password="wr0ng")) as link:
            error = await refused(said(link, "x"), "does not accept the user or password")
            assert "wr0ng" not in error.detail
        async with linked(RedisEndpoint.parse(f"redis://reader:reader@{server.host}")) as link:
            assert await said(link, "hello") == b"hello"
            script = Script("return redis.call('SET', KEYS[1], 1)")
            await refused(link.call("set", lambda s: s.command("SET", KEY, 1), key=KEY), "permit the command set")
            await refused(
                link.call("eval", lambda s: s.script(script, (KEY,)), key=KEY), "permit the command eval"
            )
        async with linked(f"redis://:{'p4ss%3Aw%2Frd%40'}@{server.host}/99") as link:
            await refused(said(link, "x"), "it has no database 99")


async def test_a_password_where_none_is_needed() -> None:
    with one() as server:
        async with linked(f"redis://:unneeded@{server.host}") as link:
            await refused(said(link, "x"), "does not accept the user or password")


def _files(directory, authority: Authority, name: str):
    (directory / f"{name}-ca.crt").write_bytes(authority.certificate)
    return authority.issue("redis.test").write(directory, name), directory / f"{name}-ca.crt"


async def test_tls_with_an_authority_of_our_own(tmp_path) -> None:
    files, ca = _files(tmp_path, OURS, "server")
    _, other_ca = _files(tmp_path, THEIRS, "other")
    with one(tls=files, password=SECRET) as server:
        endpoint = RedisEndpoint.parse(server.url, ca_file=str(ca))
        link = RedisLink(endpoint, timeout_s=10.0)
        with blockbuster_ctx("validator"):
            assert await said(link, "hello") == b"hello"
            await link.close()
        async with linked(RedisEndpoint.parse(server.url, ca_file=str(other_ca))) as link:
            await refused(said(link, "x"), "certificate is not trusted", "redis.ca_file")
        async with linked(server.url) as link:
            await refused(said(link, "x"), "certificate is not trusted")
        async with linked(f"redis://{server.host}") as link:
            await refused(said(link, "x"))


async def test_tls_of_the_wrong_name_or_none(tmp_path, server: RedisServer) -> None:
    files, ca = _files(tmp_path, OURS, "server")
    with one(tls=files) as secured:
        url = f"rediss://localhost:{secured.port}"
        async with linked(RedisEndpoint.parse(url, ca_file=str(ca))) as link:
            await refused(said(link, "x"), "certificate is not trusted")
    async with linked(f"rediss://{server.host}", connect_timeout_s=1.0) as link:
        await refused(said(link, "x"))


async def test_tls_with_a_certificate_of_our_own(tmp_path) -> None:
    files, ca = _files(tmp_path, OURS, "server")
    own, own_ca = _files(tmp_path, THEIRS, "own")
    with one(tls=files, tls_ca=own_ca) as server:
        async with linked(RedisEndpoint.parse(server.url, ca_file=str(ca))) as link:
            await refused(said(link, "x"))
        parts = {"ca_file": str(ca), "certificate_file": str(own.certificate), "key_file": str(own.key)}
        async with linked(RedisEndpoint.parse(server.url, **parts)) as link:
            assert await said(link, "hello") == b"hello"


@pytest.mark.parametrize("missing", ["ca_file", "key_file", "mixed"])
def test_files_that_cannot_be_used_are_named(tmp_path, missing) -> None:
    files, ca = _files(tmp_path, OURS, "own")
    other, _ = _files(tmp_path, THEIRS, "other")
    parts = {"ca_file": str(ca), "certificate_file": str(files.certificate), "key_file": str(files.key)}
    if missing == "mixed":
        parts["key_file"] = str(other.key)
    else:
        parts[missing] = str(tmp_path / "none")
    with pytest.raises(ValueError, match="ca_file" if missing == "ca_file" else "key_file"):
        RedisLink(RedisEndpoint.parse("rediss://h", **parts), timeout_s=1.0)
