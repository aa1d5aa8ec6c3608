"""The JSON Schema of the configuration file, for editors.

Law of this file: generated from the model, so that it cannot disagree with what is checked.
"""

from typing import Any

from validator.settings import konnect
from validator.settings.model import Settings


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a configuration file. What settings say about each other is not in it."""
    generated = Settings.model_json_schema(mode="validation")
    _accept_konnect(generated["$defs"]["Strategy"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kong-credential-validator configuration",
        **{key: value for key, value in generated.items() if key != "title"},
    }


def _accept_konnect(strategy: dict[str, Any]) -> None:
    """A strategy in Konnect's form is ours before the model sees it, so that only editors need to know of it."""
    strategy["properties"] |= {member: {"description": "Konnect's own"} for member in sorted(konnect.MEMBERS)}
    strategy["properties"]["configs"] = {"description": f"as in {konnect.WHAT}", "type": "object"}
    strategy["properties"]["konnect_file"] = {
        "description": f"a file with {konnect.WHAT}; what stands beside it wins",
        "examples": ["azure-auth.json"],
        "type": "string",
    }
    alone = strategy.pop("required")
    strategy["anyOf"] = [{"required": names} for names in (alone, ["konnect_file"], ["configs"])]
