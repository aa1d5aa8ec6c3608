"""What the model refuses, in the words of a person who has to correct it.

Law of this file: every sentence comes from the model itself (its bounds, choices, descriptions and
examples), so that it cannot disagree with what is checked.
"""

from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from validator.settings.mistakes import Path, Problem, one_of, shown
from validator.settings.model import Settings
from validator.settings.values import Section

_NOT_A_SECTION = {"model_type", "model_attributes_type"}


def problems(error: ValidationError) -> Iterator[Problem]:
    """Each complaint of the model, in its own order."""
    for detail in error.errors(include_url=False):
        # A default that needs a value which is itself wrong, and a list that is too short because its entries
        # are wrong: those have their own complaints.
        if detail["type"] == "default_factory_not_called" or (detail["type"] == "too_short" and detail["input"]):
            continue
        yield _problem(detail)


def example_of(field: FieldInfo, item: int | None = None) -> str:
    """The field's first example as it would stand in YAML, or one item of it."""
    if not field.examples:
        return ""
    example = field.examples[0]
    return _yaml(example[0] if item is not None and isinstance(example, list) and example else example)


def _problem(detail: ErrorDetails) -> Problem:
    path: Path = detail["loc"]
    kind, value = detail["type"], detail["input"]
    if path and path[-1] == "[key]":
        path = path[:-1]
        example = ""
        if path[:1] == ("strategies",):
            example = "X-Claim-Tenant" if "upstream_headers" in path else "orders-idp"
        return Problem(path, shown(path, value), _expected(detail, None, None), example)
    field, model, item = _field(path)
    if kind == "extra_forbidden":
        return _unknown(path, model)
    if kind == "missing":
        value = None
    example = example_of(field, item) if field else ""
    if kind in _NOT_A_SECTION and model is not None:
        example = _section_example(model)
    return Problem(path, shown(path, value), _expected(detail, field, model), _own_example(detail) or example)


def _section_example(model: type[Section]) -> str:
    """A section with what it cannot do without, or else with its first setting."""
    fields = model.model_fields.items()
    required = [(name, field) for name, field in fields if field.is_required()] or list(fields)[:1]
    return f"{{{', '.join(f'{name}: {example_of(field)}' for name, field in required)}}}"


def _own_example(detail: ErrorDetails) -> str:
    return str(detail.get("ctx", {}).get("example", "")) if detail["type"] == "refusal" else ""


def _unknown(path: Path, model: type[Section] | None) -> Problem:
    key = str(path[-1])
    known = model.model_fields if model else {}
    return Problem(path, f"the unknown key {key[:60]!r}", one_of(known, key))


def _expected(detail: ErrorDetails, field: FieldInfo | None, model: type[Section] | None) -> str:
    kind, value = detail["type"], detail["input"]
    context = detail.get("ctx", {})
    if kind == "refusal":
        return str(context["expected"])
    if kind in {"literal_error", "enum"}:
        return one_of(_choices(str(context["expected"])), value)
    if kind in _NOT_A_SECTION and model is not None:
        return f"a section with keys out of: {', '.join(model.model_fields)}"
    if field is not None and (kind == "missing" or value is None):
        return str(field.description)
    number = _number(field) if field is not None else ""
    if number:
        return number
    return {
        "bool_type": "true or false",
        "string_type": "text; put quotes around it" if isinstance(value, int | float) else "text",
        "tuple_type": "a list",
        "mapping_type": "a section with a name for each entry",
        "dict_type": "a section with a name for each entry",
        "too_short": f"at least {context.get('min_length')} entry",
        "too_long": f"at most {context.get('max_length')} entries",
        "string_too_long": f"at most {context.get('max_length')} characters",
        "string_unicode": "text in UTF-8",
    }.get(kind, detail["msg"])


def _choices(listed: str) -> list[str]:
    """The values out of pydantic's "'a', 'b' or 'c'"."""
    return [part for part in listed.split("'") if part.strip(" ,") not in {"", "or"}]


def _number(field: FieldInfo) -> str:
    if field.annotation not in {int, float}:
        return ""
    low = next((item.ge for item in field.metadata if hasattr(item, "ge")), None)
    high = next((item.le for item in field.metadata if hasattr(item, "le")), None)
    what = "a whole number" if field.annotation is int else "a number of seconds"
    return f"{what} from {low:.12g} to {high:.12g}, without quotes"


def _field(path: Path) -> tuple[FieldInfo | None, type[Section] | None, int | None]:
    """The field that a path names or lies within, the section that belongs there, and the item's index."""
    model: type[Section] | None = Settings
    field: FieldInfo | None = None
    item: int | None = None
    within = False  # whether the next part is an entry's name or index rather than a field
    for part in path:
        if within:
            within, item = False, part if isinstance(part, int) else None
        elif model is not None and isinstance(part, str) and part in model.model_fields:
            field, item = model.model_fields[part], None
            model = _section_in(field.annotation)
            within = model is None or not _is_section(field.annotation)
        else:
            break
    return field, model, item


def _is_section(annotation: Any) -> bool:
    """Whether a section stands there itself, if anything, and not a list or a mapping of them."""
    kinds = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    return any(isinstance(kind, type) and issubclass(kind, Section) for kind in kinds)


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_yaml(item)}' for key, item in value.items())}}}"
    return str(value)
