"""Apache with mod_auth_openidc as OAuth 2.0 resource server: tokens checked on the spot against the key set.

Law of this file: issuer and audience are demanded by ``Require claim``, which is the module's way. It takes a key
set over https alone, so that the provider's is served in that way too. Apache runs one process of threads, serves
an empty file and writes no access log.
"""

import contextlib
import datetime as dt
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench import subjects
from bench.rivals.rival import Rival, Running
from bench.stage import Stage, free_ports
from validator.model import Endpoint
from validator.testing import FakeIdp, LoopbackServer, Route

MODULES = Path("/usr/lib/apache2/modules")
CONF = """
ServerName 127.0.0.1
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
LogLevel crit
Listen 127.0.0.1:{port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule auth_openidc_module {modules}/mod_auth_openidc.so
{user}
StartServers 1
ServerLimit 1
ThreadsPerChild 64
ThreadLimit 64
MaxRequestWorkers 64
KeepAlive On
KeepAliveTimeout 3600
MaxKeepAliveRequests 0
DocumentRoot {folder}/public
OIDCCryptoPassphrase for-the-bench-alone
OIDCOAuthVerifyJwksUri {jwks_uri}
OIDCOAuthSSLValidateServer Off
OIDCOAuthRemoteUserClaim sub
<Location "{path}">
  AuthType oauth20
  <RequireAll>
    Require claim aud:{audience}
    Require claim iss:{issuer}
  </RequireAll>
</Location>
"""


def _missing() -> str | None:
    if shutil.which("apache2") and (MODULES / "mod_auth_openidc.so").exists():
        return None
    return "mod_auth_openidc is absent: Debian's packages apache2-bin and libapache2-mod-auth-openidc"


def _version() -> str:
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}, ", "libapache2-mod-auth-openidc", "apache2-bin"]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout.rstrip(", ")
    return "unknown"


class HttpsKeys(LoopbackServer):
    """The provider's key set over https."""

    def __init__(self, idp: FakeIdp, context: ssl.SSLContext) -> None:
        super().__init__(ssl_context=context)
        self._idp = idp

    @property
    def jwks_uri(self) -> str:
        return f"{self.origin}/jwks"

    def _routes(self) -> Iterable[Route]:
        yield Route(Endpoint.JWKS, "GET", "/jwks", self._jwks)

    async def _jwks(self, _request: web.Request) -> web.Response:
        return web.json_response(self._idp.mint.jwks())


@contextlib.asynccontextmanager
async def _started(stage: Stage, idp: FakeIdp) -> AsyncIterator[Running]:
    (port,) = free_ports(1)
    with _folder() as folder:
        async with HttpsKeys(idp, _context(folder / "tls.pem")) as keys:
            conf = folder / "apache.conf"
            conf.write_text(
                CONF.format(
                    folder=folder,
                    port=port,
                    modules=MODULES,
                    user="User nobody\nGroup nogroup" if os.geteuid() == 0 else "",
                    jwks_uri=keys.jwks_uri,
                    path=subjects.PATH,
                    audience=subjects.AUDIENCE,
                    issuer=idp.issuer,
                )
            )
            async with stage.program("apache2", "-f", str(conf), "-DFOREGROUND") as program:
                await program.ready(port)
                yield Running(program, port, subjects.PATH)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """With what is served; readable, since Apache that root has started serves as another user."""
    with tempfile.TemporaryDirectory(prefix="bench-apache-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        served = folder / f"public{subjects.PATH}"
        served.parent.mkdir(parents=True)
        served.touch()
        (folder / "public/readyz").touch()
        yield folder


def _context(path: Path) -> ssl.SSLContext:
    """For https with a certificate that was made on the spot."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.touch(mode=0o600)
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


RIVAL = Rival(
    name="mod_auth_openidc",
    missing=_missing,
    version=_version,
    started=_started,
    facts={
        "asked as": "Apache itself, an empty file behind it",
        "algorithms": "any that the key's type allows",
        "audience": "`Require claim aud:...`",
        "keys": "the key set by its URL, kept",
        "keeps results": "no, for tokens that it checks itself",
        "registrations": "no",
    },
)
