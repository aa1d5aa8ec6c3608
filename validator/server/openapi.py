"""The control plane's OpenAPI document.

Law of this file: the document is generated from the same table of operations and the same models that serve
the requests; nothing is described by hand but the words.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from validator.server.resources import Body, ProblemBody

_PARAMETER = re.compile(r"\{(\w+)\}")

_PROBLEMS = {
    400: "Malformed or mistaken; errors lists each mistake",
    403: "No token is configured, and the request may come from a browser",
    404: "No such thing",
    409: "The id or the client id is taken, or the application stands in the configuration file",
    413: "The body is larger than 1 MiB",
    415: "The body is not application/json",
    503: "The store could not answer; Retry-After says when to try again",
}
_KEYED_PROBLEMS = {
    400: "Malformed, mistaken, or refused by the identity provider; error_description says what to do",
    404: "No such client",
    503: "The identity provider or the store could not answer; Retry-After says when to try again",
}
_BODY_PROBLEMS = (400, 413, 415)
_TOKEN, _API_KEY = "control_token", "APIKEY"
_SCHEMES = {
    _TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "description": "The content of control.token_file; not asked for where there is none",
    },
    _API_KEY: {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-KEY",
        "description": "One of the keys of dcr.api_keys_file, which Konnect sends",
    },
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One successful answer: its words, and the model or the media type of its body."""

    description: str
    model: type[BaseModel] | None = None
    media_type: str = "application/json"
    location: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, as it is served and as it is described.

    Attributes:
        problems: statuses of the refusals it knows besides those that every operation shares.
        query: description and JSON schema of each query parameter.
        open: whether it takes no control token.
        api_key: whether it takes ``X-API-KEY`` instead.
        error: the body of its refusals, where that is no problem document.
    """

    method: str
    path: str
    id: str
    summary: str
    replies: Mapping[int, Reply]
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    body: type[Body] | None = None
    query: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    problems: Sequence[int] = ()
    open: bool = False
    api_key: bool = False
    error: type[BaseModel] | None = None


def add_routes(application: web.Application, operations: Sequence[Operation]) -> None:
    """Serves what is described. A parameter is any one segment of a path."""
    for operation in operations:
        path = _PARAMETER.sub(r"{\1:[^/]+}", operation.path)
        if operation.method == "GET":
            application.router.add_get(path, operation.handler)  # and HEAD, RFC 9110 section 9.1
        else:
            application.router.add_route(operation.method, path, operation.handler)


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    schemas = _schemas(operations)
    schemes = _SCHEMES if any(operation.api_key for operation in operations) else {_TOKEN: _SCHEMES[_TOKEN]}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kong-credential-validator control plane",
            "version": version,
            "description": "The registry of applications, revocations, health and metrics.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{_TOKEN: []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": schemes,
        },
    }


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    read = {reply.model for o in operations for reply in o.replies.values() if reply.model} | {ProblemBody}
    read |= {operation.error for operation in operations if operation.error}
    written = {o.body for o in operations if o.body}
    models = [(m, "serialization") for m in read] + [(m, "validation") for m in written]
    models.sort(key=lambda pair: pair[0].__name__)
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(operation.path)
        ]
        + [
            {"name": name, "in": "query", "required": False, "description": words, "schema": dict(schema)}
            for name, (words, schema) in operation.query.items()
        ],
        "responses": _responses(operation),
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _content("application/json", operation.body)}
    if operation.open:
        described["security"] = []
    if operation.api_key:
        described["security"] = [{_API_KEY: []}]
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, reply in sorted(operation.replies.items()):
        responses[str(status)] = {"description": reply.description}
        if reply.model or reply.media_type != "application/json":
            responses[str(status)]["content"] = _content(reply.media_type, reply.model)
        if reply.location:
            responses[str(status)]["headers"] = {
                "Location": {"description": "where it is read from", "schema": {"type": "string"}}
            }
    statuses = {
        *(() if operation.api_key else (403,)),
        *operation.problems,
        *(_BODY_PROBLEMS if operation.body else ()),
    }
    if operation.query:
        statuses.add(400)
    words = _PROBLEMS | (_KEYED_PROBLEMS if operation.api_key else {})
    for status in sorted(statuses):
        responses[str(status)] = _problem(operation, words[status])
    if not operation.open:
        key = "The API key" if operation.api_key else "The control token"
        responses["401"] = _problem(operation, f"{key} is missing or wrong")
    return responses


def _problem(operation: Operation, description: str) -> dict[str, Any]:
    if operation.error is not None:
        return {"description": description, "content": _content("application/json", operation.error)}
    return {"description": description, "content": _content("application/problem+json", ProblemBody)}


def _content(media_type: str, model: type[BaseModel] | None) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"} if model else {"type": "string"}
    return {media_type: {"schema": schema}}
