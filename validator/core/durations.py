"""How long something takes, in words.

Law of this file: text for people; nothing is decided by it.
"""

_MINUTE_S, _HOUR_S, _DAY_S, _YEAR_S = 60, 3600, 86400, 365.25 * 86400
_UNITS = ((_YEAR_S, "year"), (_DAY_S, "day"), (_HOUR_S, "hour"), (_MINUTE_S, "minute"))


def duration(seconds: float) -> str:
    """About how long: ``42 seconds``, ``12 minutes``, ``3 hours``, ``2 days``, ``5 years``."""
    seconds = abs(seconds)
    for unit_s, name in _UNITS:
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {name}s"
    return "1 second" if round(seconds) == 1 else f"{seconds:.0f} seconds"
