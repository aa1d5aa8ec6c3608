"""Errors of the control plane as RFC 9457 problem documents.

Law of this file: every refusal that leaves the control plane is rendered here: never an HTML or text page, a
traceback, or a word of a foreign exception's text.
"""

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from aiohttp import web

from validator.errors import Unavailable
from validator.ports import Conflict, NotFound, ReadOnly, RegistryError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)

COMMON_HEADERS = {
    "Cache-Control": "no-store",  # RFC 9111 section 5.2.2.5: a registry's answer is nobody's to keep
    "X-Content-Type-Options": "nosniff",
    "Server": "validator",  # instead of which library in which version
}

_REGISTRY_STATUS: Mapping[type[RegistryError], int] = {NotFound: 404, Conflict: 409, ReadOnly: 409}

_SENTENCES = {
    404: "There is nothing at this path; /openapi.json lists what there is.",
    405: "This path does not take this method; the Allow header lists those it takes.",
    413: "The body is larger than 1 MiB.",
    417: "The only expectation that can be met is 100-continue.",
}

Mistake = Mapping[str, str]  # {"pointer": RFC 6901, "detail": …} or {"parameter": …, "detail": …}


class ProblemError(Exception):
    """A refusal by the control plane itself.

    Args:
        status: HTTP status.
        detail: for the person who asked; holds no secret.
        errors: every mistake in the request, each with the place it was found at.
        headers: what the status demands besides, such as ``WWW-Authenticate``.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Mistake] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})


def json_response(
    body: object,
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
) -> web.Response:
    """``body`` as JSON in UTF-8."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    encoded = text.encode("utf-8", "backslashreplace")  # a stray octet of a path comes back as a JSON escape
    return web.Response(body=encoded, status=status, headers=headers, content_type=kind)


def problem_response(
    status: int,
    detail: str,
    *,
    reason: str | None = None,
    errors: Sequence[Mistake] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """One problem document (RFC 9457 section 3.1); its type is about:blank, so its title is the status's."""
    body: dict[str, object] = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if reason is not None:
        body["reason"] = reason
    if errors:
        body["errors"] = list(errors)
    return json_response(
        body, status, headers={**COMMON_HEADERS, **(headers or {})}, kind="application/problem+json"
    )


async def answer(handler: Handler, request: web.Request) -> web.StreamResponse:
    """The handler's response, or the problem that its exception stands for."""
    try:
        return await handler(request)
    except ProblemError as problem:
        return problem_response(problem.status, problem.detail, errors=problem.errors, headers=problem.headers)
    except RegistryError as refused:
        status = next((code for kind, code in _REGISTRY_STATUS.items() if isinstance(refused, kind)), 409)
        return problem_response(status, str(refused))
    except Unavailable as unavailable:
        _log.warning("control_unavailable", reason=unavailable.reason.value, detail=unavailable.detail)
        wait_s = max(1, math.ceil(unavailable.retry_after_s or 1))
        return problem_response(
            503, unavailable.detail, reason=unavailable.reason.value, headers={"Retry-After": str(wait_s)}
        )
    except web.HTTPException as refused:
        allow = {"Allow": refused.headers["Allow"]} if "Allow" in refused.headers else {}
        detail = _SENTENCES.get(refused.status, "The request was refused.")
        return problem_response(refused.status, detail, headers=allow)
    except Exception:  # noqa: BLE001 -- the outermost edge: a bug is a log line and a bare 500, not a page
        _log.exception("control_error", method=request.method, path=request.path)
        return problem_response(500, "The sidecar made a mistake; its log says more.")


@dataclass(frozen=True, slots=True)
class Rendering:
    """How an application wants to be spoken for outside its middlewares.

    Attributes:
        answer: wraps the handling of each request, routing included.
        unreadable: the response to octets that are no request; takes the status and a sentence.
    """

    answer: Callable[[Handler, web.Request], Awaitable[web.StreamResponse]]
    unreadable: Callable[[int, str], web.Response]


RENDERING: web.AppKey[Rendering] = web.AppKey("rendering", Rendering)
PROBLEMS = Rendering(answer, problem_response)


async def finish(_: web.Request, response: web.StreamResponse) -> None:
    """What every response carries, as a signal of ``on_response_prepare``."""
    response.headers.update(COMMON_HEADERS)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost middleware."""
    return await answer(handler, request)
