"""The trace that a request belongs to, by the word of its ``traceparent`` header (W3C Trace Context, level 1).

Law of this file: a trace is for the log and changes no answer; a header that is not well-formed is none.
"""

import re
from typing import Final

_FIELDS: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_VERSION_00: Final = b"00"


def trace_id(traceparent: bytes) -> str | None:
    """The trace's id, 32 hexadecimal digits; ``None`` where the value is not well-formed (section 3.2.2). Versions
    to come may append fields, the one there is may not."""
    traceparent = traceparent.rstrip(b" \t")  # which the parser leaves
    found = _FIELDS.match(traceparent)
    if found is None:
        return None
    more = traceparent[found.end() :]
    if more and (found[1] == _VERSION_00 or not more.startswith(b"-")):
        return None
    return found[2].decode()
