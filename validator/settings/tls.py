"""The files that the data plane serves TLS with.

Law of this file: what passes can be served with, and what does not is told without the key or its path, because
people put the key there instead. Of another path the end is told, and nothing where it looks like a key.
"""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path as FilePath

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from validator.settings.mistakes import Caution, Path, Problem

AT: Path = ("listen", "data_tls")
CERTIFICATE: Path = (*AT, "certificate_file")
KEY: Path = (*AT, "key_file")
CLIENT_CA: Path = (*AT, "client_ca_file")

_MAX_SHOWN = 60  # characters of a path
# PEM's frame, or as much base64 as the shortest key has; in a path a dot, a hyphen or an underscore comes sooner.
_LIKE_A_KEY = re.compile(r"-----BEGIN|[A-Za-z0-9+=]{40}|[A-Za-z0-9+/=]{64}")

# What is expected in each file, and where it could be.
_EXPECTED: dict[Path, tuple[str, str]] = {
    CERTIFICATE: (
        "a PEM file with the certificate first, and then those between it and its CA",
        "/etc/validator/data.crt",
    ),
    KEY: ("a PEM file with the certificate's private key, without a passphrase", "/run/secrets/data.key"),
    CLIENT_CA: ("a PEM file with the CAs that sign the gateways' certificates", "/etc/validator/gateways-ca.crt"),
}


def unreadable(at: Path, error: Exception, path: FilePath) -> Problem:
    """That a file gives nothing."""
    name = "" if at == KEY else shown_path(path)
    return Problem(at, f"{error} ({name})" if name else str(error), *_EXPECTED[at])


def exposed_key() -> Caution:
    """That the key's file is open to all."""
    return Caution(KEY, "every user of the machine may read this file; chmod 0640 or stricter")


def without_files(section: object) -> Problem | None:
    """A section of which only the name is left would mean that there is no TLS."""
    if section is not None:
        return None
    return Problem(AT, "nothing", "certificate_file and key_file in it; without TLS, leave data_tls out")


def findings(files: Mapping[Path, tuple[FilePath, bytes]]) -> list[Problem | Caution]:
    """What is wrong with the files, which are given by the setting that names each, with their content."""
    found: list[Problem | Caution] = []
    chain: list[x509.Certificate] = []
    key: PrivateKeyTypes | None = None
    for at, (path, content) in files.items():
        try:
            if at == KEY:
                key = load_pem_private_key(content, None)
            else:
                read = x509.load_pem_x509_certificates(content)
                chain = read if at == CERTIFICATE else chain
        except TypeError:
            found.append(Problem(at, "a key with a passphrase, which nobody could enter", *_EXPECTED[at]))
        except (ValueError, UnsupportedAlgorithm):
            name = shown_path(path) or "that file"
            what = "a file without a private key" if at == KEY else f"no certificate in {name}"
            found.append(Problem(at, f"{what} that can be read", *_EXPECTED[at]))
    if chain and key is not None:
        found += _together(chain[0], key, (files[CERTIFICATE][0], files[KEY][0]))
    return found


def shown_path(path: FilePath) -> str:
    """The end of a path; nothing of one that may be a key, also where that is one line without its frame."""
    text = str(path)
    if _LIKE_A_KEY.search(text) or not text.isprintable():
        return ""
    return repr(text if len(text) <= _MAX_SHOWN else f"...{text[3 - _MAX_SHOWN :]}")


def _together(
    certificate: x509.Certificate, key: PrivateKeyTypes, files: tuple[FilePath, FilePath]
) -> list[Problem]:
    try:
        fits = certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        fits = True  # no kind of key that is known here: TLS itself says what it thinks of it
    if not fits:
        return [Problem(KEY, "another key than the certificate's", *_EXPECTED[KEY])]
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files, password=str)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or "it cannot be loaded"
        return [Problem(CERTIFICATE, f"a certificate that TLS refuses ({why})", *_EXPECTED[CERTIFICATE])]
    return []
