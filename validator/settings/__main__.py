"""Prints the JSON Schema of the configuration file: ``python -m validator.settings``."""

import json
import sys

from validator.settings.schema import json_schema

sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
