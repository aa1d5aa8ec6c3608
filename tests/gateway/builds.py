"""The two forms in which Kong gets the plugin: its modules on the node, or one handler and one schema, streamed.

Law of this file: it finds or makes the directory that a gateway runs; what it runs there is not its business.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.gateway import PLUGIN_ROOT

MODULES, STREAMED = BUILDS = ("modules", "streamed")

_STREAM = PLUGIN_ROOT.parent / "scripts" / "stream-plugin"
_FILES = ("handler.lua", "schema.lua")  # all that Kong streams
_DEADLINE_S = 30


@dataclass(frozen=True, slots=True)
class Build:
    """What a ``Gateway`` is given of it.

    Attributes:
        plugin_root: holds ``kong/plugins/credential-validator``.
        sandboxed: whether Kong runs it in its sandbox.
    """

    plugin_root: Path
    sandboxed: bool

    @property
    def plugin(self) -> Path:
        """The directory of the Lua files."""
        return directory_in(self.plugin_root)


def directory_in(root: Path) -> Path:
    """Where Kong looks for the plugin."""
    return root / "kong" / "plugins" / "credential-validator"


@contextmanager
def opened(name: str) -> Iterator[Build]:
    """One of ``BUILDS``, for as long as the context lasts.

    Raises:
        subprocess.CalledProcessError: the plugin cannot be streamed.
    """
    if name == MODULES:
        yield Build(PLUGIN_ROOT, sandboxed=False)
        return
    with tempfile.TemporaryDirectory(prefix="streamed-") as made:
        written, root = Path(made) / "written", Path(made) / "root"
        subprocess.run([_STREAM, written], check=True, stdout=subprocess.DEVNULL, timeout=_DEADLINE_S)
        directory_in(root).mkdir(parents=True)
        for file in _FILES:
            (written / file).rename(directory_in(root) / file)
        yield Build(root, sandboxed=True)
