"""``validator check``: what a person reads about a configuration, its issuers and its Redis.

Law of this file: it prints and decides nothing; these are reached in ``inspecting``.
"""

import asyncio
from pathlib import Path

from validator.inspecting import inspect, inspect_redis
from validator.settings import Settings

DONE, NO = 0, 1


async def report(settings: Settings, path: Path, *, online: bool) -> int:
    """Prints the warnings, and what the issuers and Redis say; returns the exit code."""
    for notice in settings.warnings:
        _say(f"warning: {notice}")
    strategies = _count(len(settings.strategies), "strategy", "strategies")
    counted = f"{strategies}, {_count(len(settings.applications), 'application', 'applications')}"
    if online:
        visits = [inspect(name, strategy, settings) for name, strategy in settings.strategies.items()]
        *issuers, redis = await asyncio.gather(*visits, inspect_redis(settings))
        inspected = [found for found in (*issuers, redis) if found is not None]
        for found in inspected:
            _say("\n".join(found.lines))
        failing = [found.name for found in inspected if not found.works]
        if failing:
            _say(
                f"{path}: no mistakes in the file ({counted}), but not everything would work: {', '.join(failing)}"
            )
            return NO
    _say(f"{path}: no mistakes ({counted}, {_count(len(settings.warnings), 'warning', 'warnings')})")
    return DONE


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _say(text: str) -> None:
    print(text)  # noqa: T201 - this is what a person reads
