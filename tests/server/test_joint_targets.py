"""Targets that name several strategies, over the connection's own way: found, replayed the short way, or 404."""

import pytest
from support_http import CannedIdp
from support_pipeline import COOKIE, Kitchen, app
from test_frames import CREDENTIALS, Replayed, Wire

from validator.server.dataplane import Bounds, Plane
from validator.server.routes import Routes
from validator.testing import ManualClock


@pytest.fixture
async def kitchen():
    clock = ManualClock()
    made = Kitchen(
        clock,
        CannedIdp(clock),
        applications=[app("orders"), app("orders", strategy="other")],
        strategies={"plain": {}, "other": {}, **{"s" * 63 + str(number): {} for number in range(8)}},
    )
    await made.issuer.tend()
    yield made
    await made.close()


@pytest.mark.parametrize(
    "names", [b"plain,other", b"plain%2Cother", b"plain%2cother", b"other,plain", b"pl%61in,other"]
)
async def test_a_joint_target_is_found_and_goes_the_short_way(kitchen, names):
    plane = Plane(kitchen.pipeline, COOKIE, bounds=Bounds(), clock=kitchen.clock)
    plane.frames = frames = Replayed(plane.frames)
    connection, wire = plane.connection(), Wire()
    connection.connection_made(wire)
    request = b"GET /v1/authorize/%b/svc HTTP/1.1\r\nHost: validator\r\n%b\r\n\r\n" % (names, CREDENTIALS[0])
    for _ in range(3):
        connection.data_received(request)
    assert [answer[:15] for answer in wire.seen] == [b"HTTP/1.1 200 OK"] * 3
    assert frames.answered == 2
    assert plane.routes.find(b"/v1/authorize/%b/svc" % names) is plane.routes.find(b"/v1/authorize/%b/svc" % names)


async def test_eight_of_the_longest_names_are_found_and_remembered(kitchen):
    names = ",".join("s" * 63 + str(number) for number in range(8))
    routes = Routes(kitchen.pipeline)
    target = f"/v1/authorize/{names}/{'v' * 256}".encode()
    assert routes.find(target) is not None
    assert target in routes._known


@pytest.mark.parametrize(
    "names",
    [
        "plain,",
        ",",
        "plain,plain",
        "plain,none",
        "plain%2C",
        "plain,%20other",
        "plain%2Fother",
        "plain;other",
        "a" * 3000,
    ],
)
async def test_any_other_is_none(kitchen, names):
    assert Routes(kitchen.pipeline).find(f"/v1/authorize/{names}/svc".encode()) is None
