"""Request bodies and query strings, from octets to checked values.

Law of this file: all that a request says is bounded, parsed strictly and judged in one go, so that a person
hears of every mistake at once; nothing of what was sent is repeated but names of members and parameters.
"""

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from validator.server.problems import Mistake, ProblemError
from validator.server.resources import Body

_B = TypeVar("_B", bound=Body)

MAX_BODY_BYTES = 1 << 20
BODY_TIMEOUT_S = 10.0  # a body of 1 MiB needs far less on any link that a control plane is reached by
_MAX_ERRORS = 100  # beyond these a longer list helps nobody
_MAX_NAME = 64  # characters of a member's name that are repeated

_VALUE_ERROR = "Value error, "  # pydantic's prefix to our own sentences


async def read_body(request: web.Request, model: type[_B], strategies: Collection[str]) -> _B:
    """The body as a checked value.

    Raises:
        ProblemError: 400 with every mistake, 408, 413 or 415.
    """
    return check(await read_json(request), model, strategies)


async def read_json(request: web.Request) -> object:
    """The body as JSON of any kind. Raises ``ProblemError``: 400, 408, 413 or 415."""
    return _parse(await _read(request))


def check(raw: object, model: type[_B], strategies: Collection[str]) -> _B:
    """Raises ``ProblemError`` (400) with every mistake and its JSON pointer (RFC 6901)."""
    value, errors = judged(raw, model, strategies)
    if value is None or errors:
        raise mistaken(errors)
    return value


def judged(raw: object, model: type[_B], strategies: Collection[str]) -> tuple[_B | None, list[Mistake]]:
    """The checked value, if each member by itself can be what it is, and every mistake."""
    found: list[tuple[str, str]] = []
    value: _B | None = None
    try:
        value = model.model_validate(raw)
    except ValidationError as error:
        lines = error.errors(include_url=False, include_context=False, include_input=False)
        found = [(_pointer(line["loc"]), line["msg"].removeprefix(_VALUE_ERROR)) for line in lines]
    if isinstance(raw, dict):
        found.extend(model.mistakes(raw, strategies))
    return value, [{"pointer": pointer, "detail": detail} for pointer, detail in found]


def mistaken(errors: list[Mistake]) -> ProblemError:
    """400 for what was understood and is wrong."""
    return ProblemError(400, "The request has mistakes; errors lists each.", errors=errors[:_MAX_ERRORS])


def path_value(request: web.Request, name: str, kind: TypeAdapter[str]) -> str:
    """A parameter of the path, judged like the same value in a body. Raises ``ProblemError`` (400)."""
    try:
        return kind.validate_python(request.match_info[name], strict=True)
    except ValidationError as error:
        lines = error.errors(include_url=False, include_context=False, include_input=False)
        details = (line["msg"].removeprefix(_VALUE_ERROR) for line in lines)
        raise mistaken([{"parameter": name, "detail": detail} for detail in details]) from None


def query(request: web.Request, known: Mapping[str, int]) -> dict[str, str]:
    """The query parameters.

    Args:
        known: the longest value, in characters, by name.

    Raises:
        ProblemError: 400 for one that is unknown, repeated or too long.
    """
    errors: list[Mistake] = []
    values: dict[str, str] = {}
    for name, value in request.query.items():
        detail = None
        if name not in known:
            detail = f"unknown; known: {', '.join(known) or 'none'}"
        elif name in values:
            detail = "must not be repeated"
        elif len(value) > known[name]:
            detail = f"must have at most {known[name]} characters"
        if detail is None:
            values[name] = value
        else:
            errors.append({"parameter": name[:_MAX_NAME], "detail": detail})
    if errors:
        raise mistaken(errors)
    return values


def limit(values: Mapping[str, str], *, default: int, most: int = 1000) -> int:
    """The page's length from a query. Raises ``ProblemError`` (400)."""
    text = values.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise mistaken([{"parameter": "limit", "detail": f"must be a whole number from 1 to {most}"}])
    return int(text)


async def _read(request: web.Request) -> bytes:
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise ProblemError(415, "Send the body as Content-Type: application/json, in UTF-8.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ProblemError(415, "Send the body without a Content-Encoding.")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise ProblemError(413, "The body is larger than 1 MiB.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise ProblemError(413, "The body is larger than 1 MiB.")
    except (web.RequestPayloadError, ConnectionError):
        raise ProblemError(400, "The body ended early, or its framing is broken.") from None
    except TimeoutError:
        raise ProblemError(408, "The body did not arrive in time.", headers={"Connection": "close"}) from None
    return bytes(body)


def _parse(body: bytes) -> object:
    """RFC 8259, without what parsers disagree on: duplicate members, NaN, infinities, half surrogates.

    Raises:
        ProblemError: 400.
    """
    try:
        text = body.decode()
        parsed = json.loads(text, object_pairs_hook=_members, parse_constant=_no_constant)
        if "\\u" in text:
            json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise ProblemError(400, "The body is not UTF-8.") from None
    except UnicodeEncodeError:
        raise ProblemError(400, "The body has half of a surrogate pair, which is no character.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ProblemError(400, f"The body is not JSON: {error.msg} ({where}).") from None
    except (ValueError, RecursionError):
        raise ProblemError(400, "The body is nested too deep, or has too long a number.") from None
    return parsed


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ProblemError(400, f"The body has the member {json.dumps(twice[:_MAX_NAME])} twice in one object.")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ProblemError(400, f"The body is not JSON: {name} is not a JSON value.")


def _pointer(location: tuple[int | str, ...]) -> str:
    """RFC 6901 section 3."""
    names = (str(part)[:_MAX_NAME].replace("~", "~0").replace("/", "~1") for part in location)
    return "".join(f"/{name}" for name in names)
