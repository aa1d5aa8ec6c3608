"""The demo with a gateway before it: nginx, running the Kong plugin's own Lua.

Law of this file: it starts the gateway and shows the requests' way; what is sent stands in ``validator.demo``.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from gateway.gateway import Gateway, GatewayError, Route

from validator import demo


def open_gateway(data_address: str) -> demo.Entry:
    """Starts nginx with one route for each service of the demo."""
    routes = [
        Route(
            path=f"/{service}",
            service=service,
            config={"validator_url": f"http://{data_address}", "strategy": demo.STRATEGY},
        )
        for service in demo.SERVICES
    ]
    gateway = Gateway(routes)
    gateway.start()
    return demo.Entry(
        lambda service: f"{gateway.url}/{service}",
        f"client -> gateway {gateway.url} -> plugin -> sidecar -> identity provider",
        gateway.stop,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stay", action="store_true", help="leave it up and print curl lines to paste")
    arguments = parser.parse_args()
    try:
        return demo.run(stay=arguments.stay, open_gateway=open_gateway)
    except GatewayError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
