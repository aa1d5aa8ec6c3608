"""A listening socket is open to whom it is meant for and nobody else, and never taken from a living process."""

import os
import socket
import stat

import pytest

from validator.server.listening import tcp, unix


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.sock"


def answers(address):
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(address) == 0


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_unix_socket_is_open_to_owner_and_group_alone(path, umask):
    """Mode 0660 whatever the umask, which is left as it was."""
    before = os.umask(umask)
    try:
        with unix(str(path)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert answers(str(path))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_a_socket_that_a_dead_process_left_is_replaced(path):
    unix(str(path)).close()
    assert path.exists()
    with unix(str(path)):
        assert answers(str(path))


def test_a_socket_that_somebody_answers_on_is_not_taken(path):
    with unix(str(path)):
        with pytest.raises(OSError, match="another process listens"):
            unix(str(path))
        assert answers(str(path))


def test_what_is_no_socket_is_not_touched(path):
    path.write_text("precious")
    with pytest.raises(OSError, match="not a socket"):
        unix(str(path))
    assert path.read_text() == "precious"


def test_a_place_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        unix(str(tmp_path / "missing" / "data.sock"))


def test_port_0_takes_any_free_one():
    first, second = tcp("127.0.0.1", 0)[0], tcp("127.0.0.1", 0)[0]
    with first, second:
        assert first.getsockname()[1] != second.getsockname()[1] != 0
        assert answers(first.getsockname())


def test_every_address_of_a_name_is_listened_on_at_one_port():
    listeners = tcp("localhost", 0)
    try:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        assert len({listener.getsockname()[0] for listener in listeners}) == len(listeners)
    finally:
        for listener in listeners:
            listener.close()


def test_a_port_that_is_taken_is_an_error():
    with tcp("127.0.0.1", 0)[0] as taken, pytest.raises(OSError, match="in use"):
        tcp("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_listeners_never_block(path, kind):
    with tcp("127.0.0.1", 0)[0] if kind == "tcp" else unix(str(path)) as listener:
        assert listener.getblocking() is False
