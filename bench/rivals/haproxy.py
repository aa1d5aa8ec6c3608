"""HAProxy with ``jwt_verify``: signature, alg, iss, aud, exp and nbf of every request's token.

Law of this file: it refuses every kind of wrong token that these checks are for, and is seen to, or is not
measured.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator

from bench import subjects
from bench.rivals import tokens
from bench.stage import Program, Stage, free_ports
from validator.testing import FakeIdp

CONF = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 10s
  timeout client 3600s
  timeout server 10s
  timeout http-keep-alive 3600s
frontend bench
  bind 127.0.0.1:{port}
  http-request return status 200 if {{ path /readyz }}
  http-request set-var(txn.token) http_auth_bearer
  http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
  http-request set-var(txn.iss) var(txn.token),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.token),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.nbf) var(txn.token),jwt_payload_query('$.nbf','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.iss) -m str {issuer} }}
  http-request deny deny_status 401 unless {{ var(txn.aud) -m str {audience} }}
  http-request deny deny_status 401 unless {{ var(txn.exp) -m found }}
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int le 0 }}
  http-request deny deny_status 401 if {{ var(txn.nbf) -m found }} {{ var(txn.nbf),sub(txn.now) -m int gt 0 }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify(txn.alg,"{key}") -m int 1 }}
  http-request return status 200
"""
ABSENT = "HAProxy is absent (Debian's package haproxy): nothing is compared with its jwt_verify"


def is_here() -> bool:
    return shutil.which("haproxy") is not None


@contextlib.asynccontextmanager
async def started(stage: Stage, idp: FakeIdp) -> AsyncIterator[tuple[Program, int]]:
    """HAProxy on the measured core, seen to refuse what it must, and its port.

    Raises:
        SystemExit: it lets a wrong token through.
    """
    (port,) = free_ports(1)
    key = stage.folder / f"haproxy-{port}.pem"
    key.write_bytes(idp.mint.current.public_pem)
    conf = stage.folder / f"haproxy-{port}.cfg"
    conf.write_text(CONF.format(port=port, issuer=idp.issuer, audience=subjects.AUDIENCE, key=key))
    async with stage.program("haproxy", "-db", "-f", str(conf)) as program:
        await program.ready(port)
        for kind, token in tokens.wrong(idp).items():
            if (said := await tokens.status(port, subjects.PATH, token)) != 401:
                raise SystemExit(f"HAProxy answers {said} to a token that is wrong: {kind}")
        yield program, port
