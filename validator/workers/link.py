"""The socket pair between a supervisor and one worker, as frames.

Law of this file: a frame arrives whole, in order, and within its bound, or the link is lost. What it means is not
known here.
"""

import asyncio
import socket
from typing import Final, Self

MAX_DOWN: Final = 256 * 1024 * 1024  # bytes of a frame to a worker: a configuration with all its applications
MAX_UP: Final = 16 * 1024 * 1024  # to the supervisor: a report
_LENGTH_BYTES: Final = 4


class LinkLostError(Exception):
    """The other side is gone, or does not speak as it should."""


class Link:
    """One end. Made by ``over``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_bytes: int) -> None:
        self._reader = reader
        self._writer = writer
        self._max_bytes = max_bytes

    @classmethod
    async def over(cls, end: socket.socket, *, max_bytes: int) -> Self:
        """
        Args:
            end: one of ``socket.socketpair``; closed with the link.
            max_bytes: of a frame that comes.
        """
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end), max_bytes)

    async def receive(self) -> bytes:
        """The next frame.

        Raises:
            LinkLostError: there will be none.
        """
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            if length > self._max_bytes:
                raise LinkLostError(f"a frame of {length} bytes")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise LinkLostError("the other side is gone") from error

    def send(self, frame: bytes) -> None:
        """Does not wait, and does not say whether it arrives."""
        if not self._writer.is_closing():
            self._writer.writelines((len(frame).to_bytes(_LENGTH_BYTES, "big"), frame))

    async def drained(self) -> None:
        """When little of what was sent still waits.

        Raises:
            LinkLostError: the other side is gone.
        """
        try:
            await self._writer.drain()
        except OSError as error:
            raise LinkLostError("the other side is gone") from error

    def close(self) -> None:
        """What was sent is still delivered."""
        self._writer.close()
