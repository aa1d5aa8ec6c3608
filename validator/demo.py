"""placeholder"""


def run(*, stay: bool) -> int:
    return int(stay)
