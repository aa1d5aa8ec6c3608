"""What Prometheus would read.

Law of this file: the text format's samples by name and labels as they stand; nothing is added up here.
"""


def samples(exposition: str) -> dict[str, float]:
    """``name{label="value"}`` -> the number."""
    lines = (line.rpartition(" ") for line in exposition.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
