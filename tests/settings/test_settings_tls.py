"""``listen.data_tls``: what is accepted, and each thing that can be wrong with it, with its line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import ValidationError
from tls_support import Authority, Files, in_pem

from validator.settings import DataTls, Mistake, Settings, SettingsError, read

PLAIN = "strategies: {plain: {idp: generic, issuer: 'https://idp.example.com', audience: orders}}\n"
CERTIFICATE, KEY, CA = (f"listen.data_tls.{name}_file" for name in ("certificate", "key", "client_ca"))
LINES = {"listen.data_tls": 3, CERTIFICATE: 4, KEY: 5, CA: 6}


def text(data: str = "127.0.0.1:0", **replaced: str) -> str:
    names = {"certificate_file": "data.crt", "key_file": "data.key", "client_ca_file": "ca.crt", **replaced}
    section = "".join(f"    {name}: {value}\n" for name, value in names.items())
    return f"listen:\n  data: {data}\n  data_tls:\n{section}{PLAIN}"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    return authority.issue("validator.test").write(tmp_path, "data")


def write(directory: Path, content: str) -> Path:
    path = directory / "validator.yaml"
    path.write_text(content)
    return path


def mistakes(directory: Path, content: str) -> tuple[Mistake, ...]:
    with pytest.raises(SettingsError) as caught:
        read(write(directory, content), {})
    return caught.value.mistakes


@pytest.mark.usefixtures("files")
def test_paths_are_taken_from_the_files_directory(tmp_path: Path) -> None:
    section = read(write(tmp_path, text()), {}).listen.data_tls
    assert section == DataTls(
        certificate_file=str(tmp_path / "data.crt"),
        key_file=str(tmp_path / "data.key"),
        client_ca_file=str(tmp_path / "ca.crt"),
    )


def test_the_environment_sets_it_too(tmp_path: Path, files: Files) -> None:
    environ = {
        "VALIDATOR__LISTEN__DATA_TLS__CERTIFICATE_FILE": str(files.certificate),
        "VALIDATOR__LISTEN__DATA_TLS__KEY_FILE": str(files.key),
    }
    section = read(write(tmp_path, PLAIN), environ).listen.data_tls
    assert section == DataTls(certificate_file=str(files.certificate), key_file=str(files.key))


def test_what_the_environment_names_is_read_too(tmp_path: Path, files: Files) -> None:
    environ = {
        "VALIDATOR__LISTEN__DATA_TLS__CERTIFICATE_FILE": str(files.key),
        "VALIDATOR__LISTEN__DATA_TLS__KEY_FILE": str(files.key),
    }
    with pytest.raises(SettingsError, match=r"no certificate .* that can be read"):
        read(write(tmp_path, PLAIN), environ)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("content", "told"), [(text("0.0.0.0:0"), 0), (f"listen: {{data: '0.0.0.0:0'}}\n{PLAIN}", 1)]
)
def test_off_loopback_only_clear_text_is_worth_a_warning(tmp_path: Path, content: str, told: int) -> None:
    warnings = read(write(tmp_path, content), {}).warnings
    assert len([notice for notice in warnings if "in clear" in notice.text]) == told


def test_a_key_that_everyone_may_read_is_worth_a_warning(tmp_path: Path, files: Files) -> None:
    assert not [notice for notice in read(write(tmp_path, text()), {}).warnings if notice.where == KEY]
    files.key.chmod(0o644)
    assert [n.line for n in read(write(tmp_path, text()), {}).warnings if n.where == KEY] == [5]


def broken(name: str, content: bytes | Callable[[], bytes]) -> Callable[[Path], None]:
    return lambda directory: (directory / name).write_bytes(content() if callable(content) else content) and None


# Each: what is done to the directory -> the setting, and words of the sentence.
BAD_FILES = {
    "no certificate": (lambda d: (d / "data.crt").unlink(), CERTIFICATE, "a file that does not exist"),
    "no key": (lambda d: (d / "data.key").unlink(), KEY, "a file that does not exist"),
    "no CA": (lambda d: (d / "ca.crt").unlink(), CA, "a file that does not exist"),
    "a directory": (lambda d: ((d / "data.crt").unlink(), (d / "data.crt").mkdir()), CERTIFICATE, "not a regular"),
    "an empty certificate": (broken("data.crt", b""), CERTIFICATE, "no certificate in"),
    "a key for a certificate": (
        lambda d: (d / "data.crt").write_bytes((d / "data.key").read_bytes()), CERTIFICATE, "no certificate in",
    ),
    "half a certificate": (
        lambda d: (d / "data.crt").write_bytes((d / "data.crt").read_bytes()[:200]), CERTIFICATE, "no certificate",
    ),
    "bytes": (broken("data.crt", bytes(range(256))), CERTIFICATE, "no certificate in"),
    "bytes for a key": (broken("data.key", bytes(range(256))), KEY, "a file without a private key"),
    "a certificate for a key": (
        lambda d: (d / "data.key").write_bytes((d / "data.crt").read_bytes()), KEY, "without a private key",
    ),
    "a key with a passphrase": (
        broken("data.key", lambda: in_pem(ec.generate_private_key(ec.SECP256R1()), b"x")), KEY, "a passphrase",
    ),
    "another key": (
        broken("data.key", lambda: in_pem(ec.generate_private_key(ec.SECP256R1()))), KEY, "another key than",
    ),
    "another kind of key": (
        broken("data.key", lambda: in_pem(rsa.generate_private_key(65537, 2048))), KEY, "another key than",
    ),
    "no CA in its file": (broken("ca.crt", b"nothing"), CA, "no certificate in"),
}  # fmt: skip


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("done", "where", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_each_bad_file_is_told_with_its_line(
    tmp_path: Path, done: Callable[[Path], object], where: str, words: str
) -> None:
    done(tmp_path)
    (mistake,) = mistakes(tmp_path, text())
    assert (mistake.where, mistake.line) == (where, LINES[where])
    assert words in mistake.found
    assert mistake.example
    assert where != KEY or "data.key" not in str(mistake).replace(mistake.example, "")


def test_a_certificate_that_tls_refuses_is_told(tmp_path: Path) -> None:
    """Both files are well each on its own; OpenSSL takes no RSA key of so few bits."""
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - as said
    (tmp_path / "ca.crt").write_bytes(Authority().certificate)
    Authority().issue("validator.test", small).write(tmp_path, "data")
    (mistake,) = mistakes(tmp_path, text())
    assert mistake.where == CERTIFICATE
    assert "TLS refuses (EE_KEY_TOO_SMALL)" in mistake.found


@pytest.mark.usefixtures("files")
def test_every_bad_file_is_told_at_once(tmp_path: Path) -> None:
    for name in ("data.crt", "data.key", "ca.crt"):
        (tmp_path / name).write_bytes(b"nothing")
    assert [mistake.where for mistake in mistakes(tmp_path, text())] == [CERTIFICATE, KEY, CA]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("content", "line", "where", "words"),
    [
        (text("unix:/run/data.sock"), 3, "listen.data_tls", "TLS on a Unix socket"),
        ("listen:\n  data_tls:\n" + PLAIN, 2, "listen.data_tls", "nothing"),
        ("listen:\n  data_tls: on\n" + PLAIN, 2, "listen.data_tls", "'on'"),
        ("listen:\n  data_tls: {}\n" + PLAIN, 2, CERTIFICATE, "nothing"),
        ("listen:\n  data_tls: {certificate_file: data.crt}\n" + PLAIN, 2, KEY, "nothing"),
        (text(key_file="[data.key]"), 5, KEY, "a list"),
        (text(cert_file="data.crt"), 7, "listen.data_tls.cert_file", "unknown"),
    ],
)
def test_each_bad_setting_is_told_with_its_line(
    tmp_path: Path, content: str, line: int, where: str, words: str
) -> None:
    found = [mistake for mistake in mistakes(tmp_path, content) if mistake.where == where]
    assert [mistake.line for mistake in found] == [line]
    assert words in str(found[0])


@pytest.mark.usefixtures("files")
def test_a_key_in_the_place_of_its_path_is_not_repeated(tmp_path: Path) -> None:
    key = (tmp_path / "data.key").read_text()
    told = str(mistakes(tmp_path, text(key_file=f'"{key}"'.replace("\n", "\\n"))))
    assert "a value that is not shown" in told
    assert key.splitlines()[1][:16] not in told
    assert "BEGIN" not in told


def of_one_line(framed: bool, *, curve: bool) -> str:
    key = ec.generate_private_key(ec.SECP256R1()) if curve else ed25519.Ed25519PrivateKey.generate()
    pem = in_pem(key).decode()
    return pem.replace("\n", "") if framed else "".join(pem.splitlines()[1:-1])


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", ["certificate_file", "client_ca_file"])
@pytest.mark.parametrize("curve", [True, False], ids=["P-256", "Ed25519"])
@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("lines", [1, 2])
def test_a_key_in_the_place_of_another_path_is_not_repeated(
    tmp_path: Path, name: str, framed: bool, curve: bool, lines: int
) -> None:
    key = of_one_line(framed, curve=curve)
    written = f'"{key}"' if lines == 1 else f'"{key[:40]}\\n{key[40:]}"'
    told = str(mistakes(tmp_path, text(**{name: written})))
    assert f"listen.data_tls.{name}" in told
    assert "PRIVATE" not in told
    assert not [start for start in range(len(key) - 8) if key[start : start + 8] in told]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/absent/data.crt", "('/absent/data.crt')"),
        (f"/absent/{'a-b/' * 40}data.crt", f"('...{('a-b/' * 40)[-49:]}data.crt')"),
        (f"/absent/{'a1' * 20}.crt", "exist"),
        ("/".join(["aB3" * 10] * 4), "exist"),  # a key may have slashes
    ],
)
def test_of_a_path_the_end_is_told(tmp_path: Path, path: str, end: str) -> None:
    (mistake,) = mistakes(tmp_path, text(certificate_file=path))
    assert mistake.found.endswith(end)


def test_settings_built_in_code_are_held_to_it_too() -> None:
    document = {
        "listen": {"data": "unix:/run/d.sock", "data_tls": {"certificate_file": "a", "key_file": "b"}},
        "strategies": {"plain": {"idp": "generic", "issuer": "https://idp.example.com"}},
    }
    with pytest.raises(ValidationError, match="TLS on a Unix socket"):
        Settings.model_validate(document)
