"""How many connections each of several processes has, where all of them see it.

Law of this file: one slot a process, written by that process alone while it lives and by nobody else until it is
dead; numbers only, so a reader needs no lock, and at worst sees what was true a moment ago.
"""

import mmap
import os
from typing import Final

_WORD: Final = 8  # bytes; one that is aligned is written and read whole
_HELD, _ACCEPTING, _WORDS = 0, 1, 2  # of a slot: open connections, and whether it takes more


class Board:
    """Shared memory with a slot for each process that accepts connections from the same sockets.

    Made by the process that starts the others; these have it by the descriptor that they inherit.
    """

    def __init__(self, fd: int) -> None:
        """Takes over the descriptor.

        Raises:
            OSError: it is none, or none of a board.
        """
        self.fd = fd
        self._memory = mmap.mmap(fd, os.fstat(fd).st_size)
        self._words = memoryview(self._memory).cast("q")

    @classmethod
    def create(cls, slots: int) -> "Board":
        """A new one, with nobody on it.

        Raises:
            OSError: the system has no more descriptors.
        """
        fd = os.memfd_create("connections")
        os.ftruncate(fd, slots * _WORDS * _WORD)
        return cls(fd)

    def seat(self, slot: int) -> "Seat":
        """A process's own place, from 0 on."""
        if not 0 <= slot < len(self._words) // _WORDS:
            raise ValueError(f"a board of {len(self._words) // _WORDS} slots has no slot {slot}")
        return Seat(self, slot)

    def total(self) -> int:
        """Open connections of all processes together."""
        return sum(self._words[_HELD::_WORDS])

    def fair_share(self, slot: int) -> float:
        """How many open connections a process may have before it lets others go first: one more than those that
        accept have on average."""
        words = self._words
        accepting = [
            words[at] for at in range(0, len(words), _WORDS) if words[at + _ACCEPTING] or at == slot * _WORDS
        ]
        return sum(accepting) / len(accepting) + 1

    def write(self, slot: int, held: int, *, accepting: bool) -> None:
        """What a process has from now on."""
        self._words[slot * _WORDS + _HELD] = held
        self._words[slot * _WORDS + _ACCEPTING] = accepting

    def clear(self, slot: int) -> None:
        """That process is dead, and the system has closed what it held."""
        self.write(slot, 0, accepting=False)

    def close(self) -> None:
        """Gives the memory and the descriptor back; other processes keep theirs."""
        self._words.release()
        self._memory.close()
        os.close(self.fd)


class Seat:
    """One process's slot on a board."""

    def __init__(self, board: Board, slot: int) -> None:
        self._board = board
        self._slot = slot
        self._held = 0
        self._accepting = False

    def hold(self, connections: int) -> None:
        """So many connections are open here."""
        self._held = connections
        self._board.write(self._slot, connections, accepting=self._accepting)

    def accept(self, accepting: bool) -> None:
        """Whether more are accepted here, or only those there are kept."""
        self._accepting = accepting
        self._board.write(self._slot, self._held, accepting=accepting)

    def total(self) -> int:
        """Open connections of all processes together."""
        return self._board.total()

    def has_more_than_its_share(self) -> bool:
        return self._held > self._board.fair_share(self._slot)
