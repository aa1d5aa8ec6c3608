"""The files that settings name for TLS: what the data plane serves with, what Redis is shown.

Law of this file: what passes can be used, and what does not is told without the key or its path, because people
put the key there instead. Of another path the end is told, and nothing where it looks like a key.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from validator.settings.mistakes import Caution, Path, Problem

_MAX_SHOWN = 60  # characters of a path
# PEM's frame, or as much base64 as the shortest key has; in a path a dot, a hyphen or an underscore comes sooner.
_LIKE_A_KEY = re.compile(r"-----BEGIN|[A-Za-z0-9+=]{40}|[A-Za-z0-9+/=]{64}")
_CERTIFICATE, _KEY = "certificate_file", "key_file"


@dataclass(frozen=True, slots=True)
class TlsSection:
    """A section that names a certificate, its key and perhaps CAs.

    Attributes:
        expected: by setting what is expected in its file, and where that could be.
    """

    at: Path
    expected: Mapping[str, tuple[str, str]]


_CHAIN = "a PEM file with the certificate first, and then those between it and its CA"
_PRIVATE_KEY = "a PEM file with the certificate's private key, without a passphrase"
DATA = TlsSection(
    ("listen", "data_tls"),
    {
        _CERTIFICATE: (_CHAIN, "/etc/validator/data.crt"),
        _KEY: (_PRIVATE_KEY, "/run/secrets/data.key"),
        "client_ca_file": (
            "a PEM file with the CAs that sign the gateways' certificates",
            "/etc/validator/gateways-ca.crt",
        ),
    },
)
REDIS = TlsSection(
    ("redis",),
    {
        _CERTIFICATE: (_CHAIN, "/etc/validator/redis-client.crt"),
        _KEY: (_PRIVATE_KEY, "/run/secrets/redis-client.key"),
    },
)


def unreadable(section: TlsSection, name: str, error: Exception, path: FilePath) -> Problem:
    """That a file gives nothing."""
    shown = "" if name == _KEY else shown_path(path)
    return Problem((*section.at, name), f"{error} ({shown})" if shown else str(error), *section.expected[name])


def exposed_key(section: TlsSection, name: str) -> list[Problem | Caution]:
    """That the key's file is open to all; of another file that is no matter."""
    text = "every user of the machine may read this file; chmod 0640 or stricter"
    return [Caution((*section.at, name), text)] if name == _KEY else []


def without_files(section: object) -> Problem | None:
    """A section of which only the name is left would mean that there is no TLS."""
    if section is not None:
        return None
    return Problem(DATA.at, "nothing", "certificate_file and key_file in it; without TLS, leave data_tls out")


def findings(section: TlsSection, files: Mapping[str, tuple[FilePath, bytes]]) -> list[Problem | Caution]:
    """What is wrong with the files, which are given by the setting that names each, with their content."""
    found: list[Problem | Caution] = []
    chain: list[x509.Certificate] = []
    key: PrivateKeyTypes | None = None
    for name, (path, content) in files.items():
        at, expected = (*section.at, name), section.expected[name]
        try:
            if name == _KEY:
                key = load_pem_private_key(content, None)
            else:
                read = x509.load_pem_x509_certificates(content)
                chain = read if name == _CERTIFICATE else chain
        except TypeError:
            found.append(Problem(at, "a key with a passphrase, which nobody could enter", *expected))
        except (ValueError, UnsupportedAlgorithm):
            shown = shown_path(path) or "that file"
            what = "a file without a private key" if name == _KEY else f"no certificate in {shown}"
            found.append(Problem(at, f"{what} that can be read", *expected))
    if chain and key is not None:
        found += _together(section, chain[0], key, (files[_CERTIFICATE][0], files[_KEY][0]))
    return found


def shown_path(path: FilePath) -> str:
    """The end of a path; nothing of one that may be a key, also where that is one line without its frame."""
    text = str(path)
    if _LIKE_A_KEY.search(text) or not text.isprintable():
        return ""
    return repr(text if len(text) <= _MAX_SHOWN else f"...{text[3 - _MAX_SHOWN :]}")


def _together(
    section: TlsSection, certificate: x509.Certificate, key: PrivateKeyTypes, files: tuple[FilePath, FilePath]
) -> list[Problem]:
    try:
        fits = certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        fits = True  # no kind of key that is known here: TLS itself says what it thinks of it
    if not fits:
        return [Problem((*section.at, _KEY), "another key than the certificate's", *section.expected[_KEY])]
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files, password=str)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or "it cannot be loaded"
        expected = section.expected[_CERTIFICATE]
        return [Problem((*section.at, _CERTIFICATE), f"a certificate that TLS refuses ({why})", *expected)]
    return []
