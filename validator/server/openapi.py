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
_BODY_PROBLEMS = (400, 413, 415)


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


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    schemas = _schemas(operations)
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
        "security": [{"control_token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "control_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The content of control.token_file; not asked for where there is none",
                }
            },
        },
    }


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    read = {reply.model for o in operations for reply in o.replies.values() if reply.model} | {ProblemBody}
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
    statuses = {403, *operation.problems, *(_BODY_PROBLEMS if operation.body else ())}
    if operation.query:
        statuses.add(400)
    for status in sorted(statuses):
        responses[str(status)] = _problem(_PROBLEMS[status])
    if not operation.open:
        responses["401"] = _problem("The control token is missing or wrong")
    return responses


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": _content("application/problem+json", ProblemBody)}


def _content(media_type: str, model: type[BaseModel] | None) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"} if model else {"type": "string"}
    return {media_type: {"schema": schema}}
