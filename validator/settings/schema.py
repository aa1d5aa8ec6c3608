"""The JSON Schema of the configuration file, for editors.

Law of this file: generated from the model, so that it cannot disagree with what is checked.
"""

from typing import Any

from validator.settings.model import Settings


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a configuration file. What settings say about each other is not in it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kong-credential-validator configuration",
        **{key: value for key, value in Settings.model_json_schema(mode="validation").items() if key != "title"},
    }
