"""Applications of one origin, held in memory.

Law of this file: what is found by id and by place (strategy and client id) is the same set, and looking through it
in order costs what is taken, not what is held. It is not judged here who may stand where.
"""

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import islice

from validator.core.registry import canonical_client_id
from validator.model import Application

Place = tuple[str, str]  # strategy, canonical client id


class Applications:
    """Applications of one origin: by id, by place, and in order of id within each strategy.

    Dictionaries nested by strategy spare a tuple for each application.
    """

    __slots__ = ("by_client", "by_id", "order")

    def __init__(self, applications: Iterable[Application] = ()) -> None:
        self.by_id: dict[str, Application] = {}
        self.by_client: dict[str, dict[str, Application]] = {}
        self.order: dict[str, list[str]] = {}
        for application in applications:
            clients = self.by_client.setdefault(application.strategy, {})
            client = client_key(application)
            if application.id in self.by_id:
                raise ValueError(f"two applications have the id {application.id!r}")
            if client in clients:
                raise ValueError(
                    f"the applications {clients[client].id!r} and {application.id!r} have the same client id "
                    f"{application.client_id!r} under the strategy {application.strategy!r}"
                )
            self.by_id[application.id] = application
            clients[client] = application
            self.order.setdefault(application.strategy, []).append(application.id)
        for ids in self.order.values():
            ids.sort()

    def at(self, strategy: str, client: str) -> Application | None:
        clients = self.by_client.get(strategy)
        return clients.get(client) if clients else None

    def put(self, application: Application) -> None:
        self.by_id[application.id] = application
        self.by_client.setdefault(application.strategy, {})[client_key(application)] = application
        insort(self.order.setdefault(application.strategy, []), application.id)

    def pop(self, application_id: str) -> Application | None:
        application = self.by_id.pop(application_id, None)
        if application is not None:
            clients = self.by_client[application.strategy]
            client = canonical_client_id(application.client_id)
            if clients.get(client) is application:  # else another one has been put there, before this one moved
                del clients[client]
            ids = self.order[application.strategy]
            del ids[bisect_left(ids, application_id)]
        return application

    def beyond(self, after: str, strategy: str | None) -> Iterator[Application]:
        """In order of id, at a cost that grows with what is taken and not with what is held."""
        orders = self.order.values() if strategy is None else [self.order.get(strategy, [])]
        runs = (islice(ids, bisect_right(ids, after), None) for ids in orders)
        return (self.by_id[application_id] for application_id in heapq.merge(*runs))


def client_key(application: Application) -> str:
    """The canonical client id: the application's own string where that is canonical, to hold it once."""
    client = canonical_client_id(application.client_id)
    return application.client_id if client == application.client_id else client


def place(application: Application) -> Place:
    return application.strategy, canonical_client_id(application.client_id)
