"""Where Redis is: each form of URL, and a clear sentence for each that is none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.core.redis_url import RedisEndpoint, Topology, written

STANDALONE, SENTINEL, CLUSTER = Topology.STANDALONE, Topology.SENTINEL, Topology.CLUSTER


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis", RedisEndpoint(STANDALONE, (("redis", 6379),))),
        ("redis://127.0.0.1:7000/3", RedisEndpoint(STANDALONE, (("127.0.0.1", 7000),), db=3)),
        ("redis://h:1/", RedisEndpoint(STANDALONE, (("h", 1),))),
        ("redis://[::1]:65535", RedisEndpoint(STANDALONE, (("::1", 65535),))),
        ("redis://[fe80::1%eth0]", RedisEndpoint(STANDALONE, (("fe80::1%eth0", 6379),))),
        ("rediss://redis.example.org", RedisEndpoint(STANDALONE, (("redis.example.org", 6379),), tls=True)),
        ("redis://:pw@h", RedisEndpoint(STANDALONE, (("h", 6379),), password="pw")),
        (
            "redis://us%3Aer:p%40ss%2Fw%3Ard%23%25@h",
            RedisEndpoint(STANDALONE, (("h", 6379),), username="us:er", password="p@ss/w:rd#%"),
        ),
        ("redis://:a:b@h", RedisEndpoint(STANDALONE, (("h", 6379),), password="a:b")),
        ("redis://:%F0%9F%97%9D@h", RedisEndpoint(STANDALONE, (("h", 6379),), password="🗝")),
        ("unix:///run/redis.sock", RedisEndpoint(STANDALONE, (), path="/run/redis.sock")),
        ("unix://u:p@/run/r%20s?db=2", RedisEndpoint(STANDALONE, (), "/run/r s", 2, username="u", password="p")),
        ("redis+sentinel://a/m", RedisEndpoint(SENTINEL, (("a", 26379),), master="m")),
        (
            "redis+sentinel://u:p@a:1,b,[::2]:3/my.master-1/15",
            RedisEndpoint(
                SENTINEL, (("a", 1), ("b", 26379), ("::2", 3)), None, 15, "my.master-1", username="u", password="p"
            ),
        ),
        ("rediss+sentinel://a/m/", RedisEndpoint(SENTINEL, (("a", 26379),), master="m", tls=True)),
        ("redis+cluster://a:1,b:2", RedisEndpoint(CLUSTER, (("a", 1), ("b", 2)))),
        ("rediss+cluster://a/0", RedisEndpoint(CLUSTER, (("a", 6379),), tls=True)),
    ],
)
def test_each_form(url: str, expected: RedisEndpoint) -> None:
    assert RedisEndpoint.parse(url) == expected


def test_what_stands_beside_the_url_goes_first() -> None:
    found = RedisEndpoint.parse("redis://a:b@h", username="u", password="p")
    assert (found.username, found.password) == ("u", "p")
    found = RedisEndpoint.parse("redis://a@h", password="p")
    assert (found.username, found.password) == ("a", "p")
    found = RedisEndpoint.parse(
        "rediss+sentinel://h/m",
        sentinel_username="su",
        sentinel_password="sp",
        ca_file="ca",
        certificate_file="c",
        key_file="k",
    )
    assert (found.sentinel_username, found.sentinel_password) == ("su", "sp")
    assert (found.ca_file, found.certificate_file, found.key_file) == ("ca", "c", "k")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "begins with one of redis://"),
        ("localhost:6379", "begins with one of redis://"),
        ("http://h", "begins with one of redis://"),
        ("REDIS://h", "begins with one of redis://"),
        ("redis://", "name or address of a host"),
        ("redis://:6379", "name or address of a host"),
        ("redis://h:", "port from 1 to 65535"),
        ("redis://h:0", "port from 1 to 65535"),
        ("redis://h:65536", "port from 1 to 65535"),
        ("redis://h:6379000", "port from 1 to 65535"),
        ("redis://h:٣", "port from 1 to 65535"),
        ("redis://h:x", "port from 1 to 65535"),
        ("redis://::1", "name or address of a host"),
        ("redis://[::1]6379", "port from 1 to 65535"),
        ("redis://[h]:1", "host"),
        ("redis://h/x", "number of a database"),
        ("redis://h/-1", "number of a database"),
        ("redis://h/65536", "number of a database"),
        ("redis://h/0/1", "number of a database"),
        ("redis://h?db=1", "no part behind"),
        ("redis://:p#w@h", "no part behind"),
        ("redis://:p/w@h", "one @ at most"),
        ("redis://:p@w@h", "one @ at most"),
        ("redis://:p%w@h", "two hexadecimal digits"),
        ("redis://:%ff@h", "UTF-8"),
        ("redis://:p w@h", "without spaces"),
        ("redis://h\n", "without spaces"),
        ("redis://" + "h" * 5000, "characters at most"),
        ("redis://a,b", "several hosts"),
        ("redis://u@h", "username needs password"),
        ("unix://run/redis.sock", "absolute path"),
        ("unix:///", "absolute path"),
        ("unix:///run/redis.sock?timeout=1", "only the database"),
        ("unix:///run/redis.sock?db=x", "number of a database"),
        ("redis+sentinel://h", "master's name"),
        ("redis+sentinel://h/", "master's name"),
        ("redis+sentinel://h/my master", "without spaces"),
        ("redis+sentinel://h/m*", "master's name"),
        ("redis+sentinel://h/m/x", "number of a database"),
        ("redis+cluster://h/1", "database 0 only"),
        ("redis+cluster://h,h", "each once"),
        ("redis+cluster://" + ",".join(f"h{number}" for number in range(33)), "32 hosts at most"),
    ],
)
def test_each_mistake_is_told_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        RedisEndpoint.parse(url)


@pytest.mark.parametrize(
    ("url", "parts", "sentence"),
    [
        ("redis://h", {"username": "u"}, "username needs password"),
        ("redis://h", {"sentinel_password": "p"}, "redis+sentinel:// only"),
        ("redis+sentinel://h/m", {"sentinel_username": "u"}, "sentinel_username needs sentinel_password"),
        ("redis://h", {"ca_file": "ca"}, "ca_file: only with TLS"),
        ("unix:///s", {"certificate_file": "c", "key_file": "k"}, "certificate_file, key_file: only with TLS"),
        ("rediss://h", {"certificate_file": "c"}, "go together"),
        ("rediss://h", {"key_file": "k"}, "go together"),
    ],
)
def test_what_does_not_go_with_the_url_is_named(url: str, parts: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        RedisEndpoint.parse(url, **parts)


def test_no_secret_is_shown() -> None:
    found = RedisEndpoint.parse("rediss+sentinel://u:s3cret@a:1,[::1]:2/m/1", sentinel_password="s3cret")
    assert repr(found) == "RedisEndpoint(sentinel, a:1,[::1]:2, db=1, tls)"
    assert repr(RedisEndpoint.parse("unix://:s3cret@/run/s")) == "RedisEndpoint(standalone, /run/s, db=0)"


@given(
    st.text(max_size=60), st.sampled_from(["redis://", "unix://", "redis+sentinel://h/", "redis+cluster://", ""])
)
def test_any_text_ends_in_a_value_or_a_sentence_without_it(text: str, start: str) -> None:
    try:
        found = RedisEndpoint.parse(f"{start}:s3cret{text}")
    except ValueError as error:
        refusal: ValueError | None = error
    else:
        refusal = None
        assert "s3cret" not in repr(found)
        assert all(RedisEndpoint.parse(f"redis://{written(host)}").hosts == (host,) for host in found.hosts)
    assert refusal is None or type(refusal) is ValueError  # UnicodeError would quote the text
    assert "s3cret" not in str(refusal)
