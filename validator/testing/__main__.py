"""``python -m validator.testing``: an identity provider, or a service that echoes. FOR DEVELOPMENT ONLY.

Law of this file: arguments, the life of one process, and a warning. Beyond loopback nothing is served unless
``--development-network`` says that only a development machine reaches it.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from validator.testing.echo import Echo
from validator.testing.idp import FakeIdp

_MAX_PORT: Final = 65535


class _Clock:
    """The machine's own. The one that serves stands beside this floor, which imports nothing from there."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM; the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    host, port = arguments.listen
    if not ipaddress.ip_address(host).is_loopback and not arguments.development_network:
        parser.error(
            f"{host} is not loopback, and this guards nothing: add --development-network "
            "where only a development machine can reach it"
        )
    try:
        asyncio.run(_serve(_server(arguments, host, port)))
    except OSError as error:
        _say(f"cannot listen on {host}:{port}: {error.strerror or error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m validator.testing", description="FOR DEVELOPMENT ONLY.")
    commands = parser.add_subparsers(dest="command", required=True)
    idp = commands.add_parser("idp", help="an identity provider that issues tokens to the clients named here")
    idp.add_argument("--client", action="append", default=[], type=_client, metavar="ID:SECRET", required=True)
    idp.add_argument("--origin", type=_origin, metavar="URL", help="how others reach it: the issuer of its tokens")
    echo = commands.add_parser("echo", help="a service that answers with what it was sent")
    for command in (idp, echo):
        command.add_argument("--listen", type=_address, default=("127.0.0.1", 9400), metavar="ADDRESS:PORT")
        command.add_argument("--development-network", action="store_true", help="allow an address off loopback")
    return parser


def _server(arguments: argparse.Namespace, host: str, port: int) -> Echo | FakeIdp:
    if arguments.command == "echo":
        return Echo(host=host, port=port)
    return FakeIdp(dict(arguments.client), clock=_Clock(), port=port, host=host, public_origin=arguments.origin)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        raise argparse.ArgumentTypeError("write an IPv4 address and a port, such as 127.0.0.1:9400") from None
    if not port.isascii() or not port.isdecimal() or int(port) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"write a port from 0 to {_MAX_PORT}")
    return host, int(port)


def _client(text: str) -> tuple[str, str]:
    client_id, _, secret = text.partition(":")
    if not client_id or not secret:
        raise argparse.ArgumentTypeError("write a client id and its secret, with a colon between them")
    return client_id, secret


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError("write a URL without a path, such as http://idp:9400")
    return text


async def _serve(server: Echo | FakeIdp) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, told.set)
    async with server:
        _say(f"FOR DEVELOPMENT ONLY, it guards nothing: {server.origin}")
        await told.wait()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is what a person reads


if __name__ == "__main__":
    sys.exit(main())
