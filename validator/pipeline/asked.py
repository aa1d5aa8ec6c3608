"""A request while it is judged.

Law of this file: what stood at a request's arrival, and nothing that is found out later.
"""

from typing import NamedTuple

from validator.caching import Moment
from validator.pipeline.strategy import Route


class Asked(NamedTuple):
    """A request, from its arrival on.

    Attributes:
        key: of its answer.
        started: on the clock's monotonic scale.
        begun: at its arrival. It may wait for its turn on a connection, and what is forgotten meanwhile counts.
    """

    route: Route
    key: bytes
    authorization: bytes | None
    session: bytes | None
    trace_id: str | None
    started: float
    begun: Moment
