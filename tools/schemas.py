"""Write the JSON Schemas of the documents, for editors: ``python tools/schemas.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from drtool.documents import estate, policy, register, restart_concept, runbook
from drtool.documents.durations import format_duration

FOLDER = Path(estate.__file__).parent / "schemas"
DOCUMENTS: Mapping[str, type[BaseModel]] = {
    "estate": estate.Estate,
    "policy": policy.Policy,
    "register": register.Register,
    "restart_concept": restart_concept.RestartConcept,
    "runbook": runbook.Runbook,
}


class _ForEditors(GenerateJsonSchema):
    """Pydantic's schema, but as a document is written: no null, durations as text, titles only at the top."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        default = schema.get("default")
        inner = self.generate_inner(schema["schema"])
        if default in (None, (), "") or "$ref" in inner:
            return inner
        written = format_duration(default) if isinstance(default, timedelta) else default
        return {**inner, "default": written}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schemas() -> dict[Path, str]:
    """Each schema's file and the text it should have."""
    return {
        FOLDER / f"{name}.schema.json": json.dumps(_schema(name, model), indent=2, ensure_ascii=False) + "\n"
        for name, model in DOCUMENTS.items()
    }


def _schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_ForEditors)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"drtool {name}",
    }
    return head | {key: value for key, value in schema.items() if key != "title"}


def main() -> None:
    """Write what is not there yet or has changed."""
    for path, text in schemas().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
