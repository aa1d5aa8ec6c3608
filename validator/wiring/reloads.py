"""What a reload does not reach, and what is said of it.

Law of this file: nothing is changed here.
"""

import structlog

from validator.settings import Address, Settings

log = structlog.get_logger(__name__)


def tell_reloaded(old: Settings, new: Settings) -> None:
    """Says that ``new`` is in force, and what of it waits for the next start."""
    fixed = {
        "listen": _bound(new) != _bound(old),
        "store": new.store != old.store,
        "redis": new.redis != old.redis,
        "dcr": (new.dcr is None) != (old.dcr is None),
        "dcr.retry_window_s": _retry_window(new) != _retry_window(old),
        "cache.max_entries": new.cache.max_entries != old.cache.max_entries,
        "log": new.log != old.log,
    }
    tell_warnings(new)
    log.info("reloaded", needs_restart=[name for name, changed in fixed.items() if changed])


def tell_warnings(settings: Settings) -> None:
    """What a reader of the configuration should know."""
    for notice in settings.warnings:
        log.warning("configuration", detail=str(notice))


def _bound(settings: Settings) -> tuple[Address, Address, Address | None, bool]:
    """What of ``listen`` lasts until the next start."""
    listen = settings.listen
    return listen.data, listen.control, listen.dcr, listen.data_tls is not None


def _retry_window(settings: Settings) -> float | None:
    return settings.dcr.retry_window_s if settings.dcr is not None else None
