"""Each thing that can be wrong with a file: where it is told, and in which words."""

from pathlib import Path

import pytest

from validator.settings import Mistake, SettingsError, read

STRATEGY = "strategies: {plain: {idp: generic, issuer: 'https://idp.example.com', audience: orders}}\n"


def mistakes(directory: Path, text: str) -> tuple[Mistake, ...]:
    path = directory / "validator.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read(path, {})
    return caught.value.mistakes


# Each: text -> the line, the setting, and words of the sentence.
BAD_TEXTS = {
    "empty file": ("", 1, "", "an empty file"),
    "comments alone": ("# nothing\n", 1, "", "an empty file"),
    "a list": ("- a\n", 1, "", "a list"),
    "syntax": ("listen:\n  data: [\n", 3, "", "not YAML"),
    "tab": ("listen:\n\tdata: x\n", 2, "", "not YAML"),
    "second document": (STRATEGY + "---\n" + STRATEGY, 2, "", "second document"),
    "tag": ("log: !!python/object:os.system {}\n", 1, "", "a tag"),
    "alias to nothing": ("log: *nothing\n", 1, "", "an alias"),
    "complex key": ("[a, b]: 1\n", 1, "", "not plain text"),
    "unquoted IPv6": ("listen:\n  data: [::1]:8100\n", 2, "", "not YAML"),
    "control character": ("log: \x01\n", 1, "", "a character"),
    "duplicate key": (STRATEGY + "log: {level: info}\nlog: {level: error}\n", 3, "log", "a second time"),
    "unknown section": (STRATEGY + "chache: {}\n", 2, "chache", "did you mean cache?"),
    "no strategy": ("strategies: {}\n", 1, "strategies", "at least 1 entry"),
    "strategies missing": ("log: {}\n", 1, "strategies", "found nothing"),
    "Redis by no URL": (STRATEGY + "redis: {url: x}\n", 2, "redis.url", "a URL that begins with one of redis://"),
    "boolean by another name": (
        STRATEGY + "session: {outlive_token: yes}\n",
        2,
        "session.outlive_token",
        "true or false",
    ),
    "number for a boolean": (
        STRATEGY + "session: {outlive_token: 1}\n",
        2,
        "session.outlive_token",
        "true or false",
    ),
    "boolean for a number": (
        STRATEGY + "cache: {decision_ttl_s: true}\n",
        2,
        "cache.decision_ttl_s",
        "from 0 to 3600",
    ),
    "not a number": (
        STRATEGY + "cache: {decision_ttl_s: .nan}\n",
        2,
        "cache.decision_ttl_s",
        "from 0 to 3600",
    ),
    "infinite": (STRATEGY + "cache: {decision_ttl_s: .inf}\n", 2, "cache.decision_ttl_s", "from 0 to 3600"),
    "negative": (STRATEGY + "cache: {decision_ttl_s: -1}\n", 2, "cache.decision_ttl_s", "from 0 to 3600"),
    "null": (STRATEGY + "cache: {decision_ttl_s: }\n", 2, "cache.decision_ttl_s", "found nothing"),
    "fraction for a count": (
        STRATEGY + "cache: {max_entries: 100.5}\n",
        2,
        "cache.max_entries",
        "a whole number",
    ),
    "idle beyond absolute": (
        STRATEGY + "session: {idle_ttl_s: 90000}\n",
        2,
        "session.idle_ttl_s",
        "at most absolute_ttl_s",
    ),
    "absolute below idle": (
        STRATEGY + "session: {absolute_ttl_s: 60}\n",
        2,
        "session.absolute_ttl_s",
        "at least idle_ttl_s",
    ),
    "connect beyond whole": (
        STRATEGY + "outbound: {timeout_s: 1}\n",
        2,
        "outbound.timeout_s",
        "at least connect_timeout_s",
    ),
    "keys forgotten early": (
        STRATEGY + "keys: {last_known_good_s: 60}\n",
        2,
        "keys.last_known_good_s",
        "at least refresh_s",
    ),
    "token beyond headers": (
        STRATEGY + "limits: {max_header_bytes: 2048}\n",
        2,
        "limits.max_header_bytes",
        "at least max_token",
    ),
    "cookie name": (
        STRATEGY + "session: {cookie_name: 'a b'}\n",
        2,
        "session.cookie_name",
        "a cookie's name",
    ),
    "choice": (STRATEGY + "log: {level: warn}\n", 2, "log.level", "did you mean warning?"),
    "no port": (STRATEGY + "listen: {data: localhost}\n", 2, "listen.data", "host:port"),
    "port too high": (STRATEGY + "listen: {data: 'localhost:65536'}\n", 2, "listen.data", "0 to 65535"),
    "no host": (STRATEGY + "listen: {data: ':8100'}\n", 2, "listen.data", "0.0.0.0 for all"),
    "bare IPv6": (STRATEGY + "listen: {data: '::1:8100'}\n", 2, "listen.data", "in brackets"),
    "bad IPv4": (STRATEGY + "listen: {data: '127.0.0.256:1'}\n", 2, "listen.data", "an IPv4 address"),
    "relative socket": (STRATEGY + "listen: {data: 'unix:run/x'}\n", 2, "listen.data", "an absolute path"),
    "long socket": (STRATEGY + f"listen: {{data: 'unix:/{'x' * 107}'}}\n", 2, "listen.data", "107 bytes"),
    "port as a number": (STRATEGY + "listen: {data: 8100}\n", 2, "listen.data", "as text"),
    "one address twice": (
        STRATEGY + "listen: {data: '127.0.0.1:8101'}\n",
        2,
        "listen.control",
        "other than listen.data",
    ),
    "open control plane": (
        STRATEGY + "listen: {control: '0.0.0.0:8101'}\n",
        2,
        "listen.control",
        "demands a token",
    ),
    "short token": (STRATEGY + "control: {token: canary}\n", 2, "control.token", "16 to 4096"),
    "bad key": (STRATEGY + "session: {keys: Y2FuYXJ5}\n", 2, "session.keys.0", "this is 6 bytes"),
    "no key": (STRATEGY + "session: {keys: '?!'}\n", 2, "session.keys.0", "not base64"),
}


@pytest.mark.parametrize(("text", "line", "where", "words"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_a_bad_file(tmp_path: Path, text: str, line: int, where: str, words: str) -> None:
    found = mistakes(tmp_path, text)
    assert [(mistake.line, mistake.where) for mistake in found] == [(line, where)]
    assert words in str(found[0])


# Each: settings of a strategy -> the setting at fault and words of the sentence.
BAD_STRATEGIES = {
    "no scheme": ("issuer: idp.example.com", "issuer", "https://"),
    "other scheme": ("issuer: ftp://idp.example.com", "issuer", "https://"),
    "http": ("issuer: http://idp.example.com", "issuer", "allow_insecure_http: true"),
    "http to a look-alike": ("issuer: http://localhost.example.com", "issuer", "allow_insecure_http: true"),
    "query": ("issuer: https://idp.example.com?tenant=1", "issuer", "without a query"),
    "fragment": ("issuer: https://idp.example.com#x", "issuer", "without a fragment"),
    "userinfo": ("issuer: https://u:p@idp.example.com", "issuer", "without a user name"),
    "template": ("issuer: 'https://login.microsoftonline.com/{tenantid}/v2.0'", "issuer", "tenant's own id"),
    "port": ("issuer: https://idp.example.com:99999", "issuer", "https://"),
    "http keys": ("jwks_uri: http://idp.example.com, discovery: true", "jwks_uri", "https"),
    "session alone": ("auth_methods: [session]", "auth_methods", "nothing could open a session"),
    "session alone, as text": ("auth_methods: session", "auth_methods", "nothing could open a session"),
    "no method": ("auth_methods: []", "auth_methods", "at least 1"),
    "unknown method": (
        "auth_methods: [bearer, basic]",
        "auth_methods.1",
        "one of client_credentials, bearer, session",
    ),
    "no token endpoint": ("jwks_uri: https://idp.example.com/jwks", "token_endpoint", "discovery is off"),
    "no keys": ("discovery: false, auth_methods: bearer", "jwks_uri", "where the keys are"),
    "grant type": (
        "token_params: {grant_type: password}",
        "token_params.grant_type",
        "the grant itself sets",
    ),
    "client secret": (
        "token_params: {client_secret: canary}",
        "token_params.client_secret",
        "the grant itself sets",
    ),
    "scope twice": ("token_params: {scope: a}, scopes: b", "token_params.scope", "both scopes and this"),
    "number for text": ("token_params: {tenant: 12}", "token_params.tenant", "put quotes around it"),
    "none": ("algorithms: [none]", "algorithms.0", "let anyone write a token"),
    "HMAC": ("algorithms: [RS256, HS256]", "algorithms.1", "public key"),
    "algorithm": ("algorithms: [RS265]", "algorithms.0", "did you mean RS256?"),
    "leeway": ("leeway_s: 301", "leeway_s", "from 0 to 300"),
    "quoted number": ("leeway_s: '30'", "leeway_s", "without quotes"),
    "scope with a space": ("required_scopes: ['a b']", "required_scopes.0", "one scope in each entry"),
    "claim": ("credential_claim: ctx..app", "credential_claim.0", "a dotted path"),
    "no claim": ("credential_claim: []", "credential_claim", "at least 1"),
    "no file": ("ca_file: nowhere.pem", "ca_file", "does not exist"),
    "http introspection": (
        "introspection: {client_id: g, client_secret: s}, introspection_endpoint: http://idp.example.com/ask",
        "introspection_endpoint",
        "allow_insecure_http: true",
    ),
    "http further issuer": ("additional_issuers: http://b.example.com", "additional_issuers.0", "https"),
    "the issuer again": (
        "additional_issuers: ['https://b.example.com', 'https://IDP.example.com/']",
        "additional_issuers.1",
        "another name",
    ),
    "nowhere to ask": (
        "jwks_uri: https://x/k, token_endpoint: https://x/t, introspection: {client_id: g, client_secret: s}",
        "introspection_endpoint",
        "discovery is off",
    ),
    "introspection without a secret": (
        "introspection: {client_id: gateway}",
        "introspection.client_id",
        "client_secret_file or client_secret beside it",
    ),
    "introspection without a client": (
        "introspection: {client_secret: canary}",
        "introspection.client_secret",
        "client_id beside it",
    ),
    "introspection, unknown": (
        "introspection: {client_id: g, client_secret: s, tll_s: 1}",
        "introspection.tll_s",
        "did you mean ttl_s?",
    ),
    "introspection, out of bounds": (
        "introspection: {client_id: g, client_secret: s, ttl_s: 3601}",
        "introspection.ttl_s",
        "from 0 to 3600",
    ),
    "introspection, a text": ("introspection: canary", "introspection", "a section with keys out of"),
    "introspection secret": (
        'introspection: {client_id: g, client_secret: "a\\nb"}',
        "introspection.client_secret",
        "printable",
    ),
}


@pytest.mark.parametrize(("setting", "where", "words"), BAD_STRATEGIES.values(), ids=BAD_STRATEGIES)
def test_a_bad_strategy(tmp_path: Path, setting: str, where: str, words: str) -> None:
    base = "" if setting.startswith("issuer") else ", issuer: 'https://idp.example.com'"
    text = f"strategies:\n  plain:\n    {{idp: generic{base}, {setting}}}\n"
    found = mistakes(tmp_path, text)
    assert [mistake.where for mistake in found] == [f"strategies.plain.{where}"]
    assert words in str(found[0])
