"""The section ``redis``: what is accepted, each thing that can be wrong with it, and that no password is shown."""

import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError
from tls_support import Authority, in_pem

from validator.core.redis_url import RedisEndpoint, Topology
from validator.settings import Mistake, Settings, SettingsError, read

STRATEGY = "strategies: {plain: {idp: generic, issuer: 'https://idp.example.com', audience: orders}}\n"
KEYS = "session: {keys: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}\n"
STORE = "store: {path: state.db}\n"
CANARY = "CANARYcanaryCANARY"
TLS = "rediss://redis.example.com"


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    authority.issue("validator.test").write(tmp_path, "own")


def write(directory: Path, content: str, mode: int = 0o600) -> Path:
    path = directory / "validator.yaml"
    path.write_text(content)
    path.chmod(mode)
    return path


def text(**section: object) -> str:
    """A file with the section from its fourth line on, one setting a line."""
    return STRATEGY + KEYS + STORE + "redis:\n" + "".join(f"  {key}: {value}\n" for key, value in section.items())


def settings(directory: Path, environ: dict[str, str] | None = None, **section: object) -> Settings:
    return read(write(directory, text(**section)), environ or {})


def mistakes(directory: Path, content: str, environ: dict[str, str] | None = None) -> tuple[Mistake, ...]:
    with pytest.raises(SettingsError) as caught:
        read(write(directory, content), environ or {})
    return caught.value.mistakes


# What is accepted


def test_without_the_section_nothing_is_shared(tmp_path: Path) -> None:
    assert read(write(tmp_path, STRATEGY), {}).redis is None


def test_the_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, url=TLS)
    assert found.redis is not None
    assert found.redis.model_dump(exclude={"url"}, exclude_none=True) == {
        "prefix": "validator",
        "timeout_s": 0.01,
        "max_stale_s": 30,
        "when_stale": "serve",
        "start_timeout_s": 5,
    }
    assert found.redis.endpoint() == RedisEndpoint(Topology.STANDALONE, (("redis.example.com", 6379),), tls=True)
    assert found.warnings == ()


def test_everything_that_the_connection_needs_reaches_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("one\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "own.key").chmod(0o600)
    found = settings(
        tmp_path,
        {"VALIDATOR__REDIS__SENTINEL_PASSWORD": "0123"},
        url="rediss+sentinel://a,b:7/mymaster/3",
        username="v",
        password_file="secret",
        sentinel_username="w",
        ca_file="ca.crt",
        certificate_file="own.crt",
        key_file="own.key",
    )
    assert found.redis is not None
    assert found.redis.endpoint() == RedisEndpoint(
        Topology.SENTINEL,
        (("a", 26379), ("b", 7)),
        db=3,
        master="mymaster",
        tls=True,
        username="v",
        password="one",
        sentinel_username="w",
        sentinel_password="0123",
        ca_file=str(tmp_path / "ca.crt"),
        certificate_file=str(tmp_path / "own.crt"),
        key_file=str(tmp_path / "own.key"),
    )
    assert found.warnings == ()


def test_the_environment_alone_is_enough(tmp_path: Path) -> None:
    path = write(tmp_path, STRATEGY + KEYS + STORE)
    found = read(path, {"VALIDATOR__REDIS__URL": TLS, "VALIDATOR__REDIS__PASSWORD": "[x]"}).redis
    assert found is not None
    assert found.endpoint().password == "[x]"


# What is refused; the section's settings stand in lines 5 and on

BAD: dict[str, tuple[dict[str, object], list[tuple[int, str]], str]] = {
    "nothing": ({"prefix": "x"}, [(4, "url")], "found nothing, expected where Redis is, as a URL"),
    "another scheme": ({"url": "http://x"}, [(5, "url")], "a URL that begins with one of redis://"),
    "no host": ({"url": "redis://"}, [(5, "url")], "the name or address of a host"),
    "no master": ({"url": "redis+sentinel://x"}, [(5, "url")], "the master's name"),
    "several hosts": ({"url": "redis://x,y"}, [(5, "url")], "several hosts go with"),
    "a database of a Cluster": ({"url": "rediss+cluster://x/1"}, [(5, "url")], "database 0 only"),
    "misspelt": ({"url": TLS, "prefx": "x"}, [(6, "prefx")], "did you mean prefix?"),
    "prefix": ({"url": TLS, "prefix": "'{x}'"}, [(6, "prefix")], "1 to 64 letters, digits"),
    "long prefix": ({"url": TLS, "prefix": "x" * 65}, [(6, "prefix")], "1 to 64 letters, digits"),
    "no time": ({"url": TLS, "timeout_s": 0.0009}, [(6, "timeout_s")], "from 0.001 to 1"),
    "much time": ({"url": TLS, "timeout_s": 1.1}, [(6, "timeout_s")], "from 0.001 to 1"),
    "stale": ({"url": TLS, "max_stale_s": 0.9}, [(6, "max_stale_s")], "from 1 to 86400"),
    "when stale": ({"url": TLS, "when_stale": "refused"}, [(6, "when_stale")], "did you mean refuse?"),
    "user": ({"url": TLS, "username": "'a b'", "password": "x"}, [(6, "username")], "the name of an ACL user"),
    "a user alone": ({"url": TLS, "username": "a"}, [(6, "username")], "password_file or password beside it"),
    "two passwords": (
        {"url": "rediss://:p@x", "password": "q"},
        [(6, "password")],
        "a user name or a password in redis.url, and password beside it",
    ),
    "two users": (
        {"url": "rediss://u:p@x", "username": "v", "password": "q"},
        [(6, "username"), (7, "password")],
        "not in redis.url",
    ),
    "a sentinel's password for none": (
        {"url": TLS, "sentinel_username": "u", "sentinel_password": "p"},
        [(6, "sentinel_username"), (7, "sentinel_password")],
        "a URL that begins with redis+sentinel://",
    ),
    "files of TLS without": (
        {"url": "redis://127.0.0.1", "ca_file": "ca.crt", "certificate_file": "own.crt", "key_file": "own.key"},
        [(6, "ca_file"), (7, "certificate_file"), (8, "key_file")],
        "a URL that begins with rediss://",
    ),
    "files of TLS for a socket": ({"url": "unix:///x", "ca_file": "ca.crt"}, [(6, "ca_file")], "rediss://"),
    "a key alone": ({"url": TLS, "key_file": "own.key"}, [(6, "key_file")], "both of them, or neither"),
    "no certificate": (
        {"url": TLS, "certificate_file": "own.crt"},
        [(6, "certificate_file")],
        "certificate_file without key_file",
    ),
    "no such files": (
        {"url": TLS, "ca_file": "a", "certificate_file": "b", "key_file": "c", "password_file": "d"},
        [(6, "ca_file"), (7, "certificate_file"), (8, "key_file"), (9, "password_file")],
        "a file that does not exist",
    ),
    "a key for a CA": ({"url": TLS, "ca_file": "own.key"}, [(6, "ca_file")], "no certificate in"),
    "both password and file": (
        {"url": TLS, "password": "x", "password_file": "ca.crt"},
        [(7, "password_file")],
        "both password and password_file",
    ),
}


@pytest.mark.parametrize(("section", "places", "words"), BAD.values(), ids=BAD)
def test_what_is_refused(
    tmp_path: Path, section: dict[str, object], places: list[tuple[int, str]], words: str
) -> None:
    found = mistakes(tmp_path, text(**section))
    assert [(mistake.line, mistake.where) for mistake in found] == [(line, f"redis.{at}") for line, at in places]
    assert words in "\n".join(map(str, found))


def test_all_of_it_is_told_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path, text(url="redis://u:p@10.0.0.1", password="q", ca_file="none", prefix="''", timeout_s=2)
    )
    assert [(mistake.line, mistake.where) for mistake in found] == [
        (6, "redis.password"),
        (7, "redis.ca_file"),
        (7, "redis.ca_file"),
        (8, "redis.prefix"),
        (9, "redis.timeout_s"),
    ]


def broken(name: str, content: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(content())


@pytest.mark.parametrize(
    ("breaks", "where", "words"),
    [
        (
            broken("own.key", lambda: in_pem(ec.generate_private_key(ec.SECP256R1()))),
            "key_file",
            "another key than",
        ),
        (broken("own.key", lambda: b"nothing"), "key_file", "a file without a private key"),
        (broken("own.crt", lambda: b"nothing"), "certificate_file", "no certificate in"),
    ],
)
def test_the_certificate_and_its_key_are_read(
    tmp_path: Path, breaks: Callable[[Path], object], where: str, words: str
) -> None:
    breaks(tmp_path)
    found = mistakes(tmp_path, text(url=TLS, certificate_file="own.crt", key_file="own.key"))
    assert [mistake.where for mistake in found] == [f"redis.{where}"]
    assert words in found[0].found
    assert "own.key" not in str(found)


# What is worth a warning


def warned(found: Settings) -> list[tuple[int | None, str, str]]:
    return [(notice.line, notice.where, notice.text) for notice in found.warnings]


@pytest.mark.parametrize(
    ("url", "more", "words"),
    [
        ("redis://10.0.0.1", {}, ["what is shared travels to Redis in clear"]),
        ("redis://:p@10.0.0.1", {}, ["the password and what is shared travel"]),
        ("redis+cluster://127.0.0.1,other", {"password": "p"}, ["the password and what is shared travel"]),
        ("redis://localhost", {}, []),
        ("redis://[::1]", {"password": "p"}, []),
        ("unix:///run/redis.sock", {"password": "p"}, []),
        ("rediss://:p@10.0.0.1", {}, []),
    ],
)
def test_what_travels_in_clear_is_worth_a_warning(
    tmp_path: Path, url: str, more: dict[str, object], words: list[str]
) -> None:
    found = warned(settings(tmp_path, url=url, **more))
    assert [(line, where) for line, where, _ in found] == [(5, "redis.url")] * len(words)
    assert all(word in told for word, (_, _, told) in zip(words, found, strict=True))


def test_without_keys_and_without_a_store_that_is_told_once_each(tmp_path: Path) -> None:
    found = warned(read(write(tmp_path, STRATEGY + f"redis:\n  url: {TLS}\n"), {}))
    assert [(line, where) for line, where, _ in found] == [(2, "redis"), (2, "redis")]
    assert "proofs, failed tries and the lock" in found[0][2]
    assert "lasts only as long as Redis keeps it" in found[1][2]


def test_what_the_bridge_registers_is_sealed_with_a_key_that_others_have(tmp_path: Path) -> None:
    bridge = f"dcr: {{api_keys: [{'k' * 12}]}}\n"
    (mistake,) = mistakes(tmp_path, STRATEGY + bridge + f"redis: {{url: {TLS}}}\n")
    assert (mistake.line, mistake.where) == (2, "dcr")
    assert "nor by another sidecar" in mistake.expected
    kept = warned(read(write(tmp_path, STRATEGY + KEYS + bridge + f"redis: {{url: {TLS}}}\n"), {}))
    assert not [where for _, where, _ in kept if where == "dcr"]


def test_secrets_that_everyone_may_read_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o644)
    (tmp_path / "own.key").chmod(0o644)
    sentinel = "rediss+sentinel://:p@x/m"
    files = {"certificate_file": "own.crt", "key_file": "own.key", "sentinel_password_file": "secret"}
    found = read(write(tmp_path, text(url=sentinel, **files), 0o644), {}).warnings
    told = [(notice.line, notice.where) for notice in found if "chmod" in notice.text]
    assert set(told) == {
        (2, "session.keys"), (5, "redis.url"), (7, "redis.key_file"), (8, "redis.sentinel_password_file"),
    }  # fmt: skip
    found = read(write(tmp_path, text(url=TLS, password="p"), 0o644), {}).warnings
    assert {notice.where for notice in found if "chmod" in notice.text} == {"session.keys", "redis.password"}


# What is never shown

LEAKS = {
    "in a URL of no scheme": f"redis: {{url: 'redi://:{CANARY}@x'}}",
    "with a slash in it": f"redis: {{url: 'redis://:{CANARY}/{CANARY}@x'}}",
    "with a colon in it": f"redis: {{url: 'redis://:{CANARY}:{CANARY}@x:y'}}",
    "with an at in it": f"redis: {{url: 'redis://:{CANARY}@{CANARY}@x'}}",
    "as a port": f"redis: {{url: 'redis://x:{CANARY}'}}",
    "as the section": f"redis: 'redis://:{CANARY}@x'",
    "as the section, with a slash in it": f"redis: 'redis://:{CANARY}/@x'",
    "as a list": f"redis: ['redis://:{CANARY}@x']",
    "in a list": f"redis: {{url: ['redis://:{CANARY}@x']}}",
    "for its file": f"redis: {{url: '{TLS}', password_file: {CANARY}}}",
    "for a sentinel's file": f"redis: {{url: 'rediss+sentinel://x/m', sentinel_password_file: {CANARY}}}",
    "for a key's file": f"redis: {{url: '{TLS}', key_file: {CANARY}, certificate_file: own.crt}}",
    "twice": f"redis: {{url: 'rediss://:{CANARY}@x', password: {CANARY}}}",
    "too long": f"redis: {{url: '{TLS}', password: {CANARY * 300}}}",
    "misspelt": f"redis: {{url: '{TLS}', pasword: {CANARY}}}",
}


@pytest.mark.parametrize("content", LEAKS.values(), ids=LEAKS)
def test_no_mistake_shows_a_password(tmp_path: Path, content: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(write(tmp_path, STRATEGY + content + "\n"), {})
    error = caught.value
    everything = [str(error), repr(error), repr(error.mistakes), "".join(traceback.format_exception(error))]
    assert not re.search("CANARY", "\n".join(everything))


def test_no_repr_and_no_dump_shows_a_password(tmp_path: Path) -> None:
    url = f"redis+sentinel://user:{CANARY}@one,two/mymaster"
    found = settings(tmp_path, url=f"'{url}'", sentinel_password=CANARY)
    assert found.redis is not None
    shown = [repr(found), str(found), found.model_dump_json(), repr(found.model_dump()), repr(found.warnings)]
    shown += [str(found.redis.url), repr(found.redis.endpoint())]
    assert not any(CANARY in one for one in shown)
    assert str(found.redis.url) == "redis+sentinel://***@one,two/mymaster"
    assert found.redis.url.get_secret_value() == url
    assert found.redis.endpoint().password == CANARY


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"url": f"redis://:{CANARY}@x", "password": CANARY}, "and password beside it"),
        ({"url": f"redi://:{CANARY}@x"}, "a URL that begins with"),
        (
            {"url": TLS, "password_file": "/x"},
            r"redis\.password_file: its content must be given as redis\.password",
        ),
        (
            {"url": TLS, "sentinel_password_file": "/x"},
            r"its content must be given as redis\.sentinel_password",
        ),
    ],
)
def test_settings_in_code_are_refused_by_the_same_rules(section: dict[str, object], words: str) -> None:
    strategy = {"idp": "generic", "issuer": "https://idp.example.com"}
    with pytest.raises(ValidationError, match=words) as caught:
        Settings.model_validate({"strategies": {"plain": strategy}, "redis": section})
    assert CANARY not in str(caught.value)
