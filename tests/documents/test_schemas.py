from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.schemas import schemas


@pytest.mark.parametrize(("path", "text"), schemas().items(), ids=lambda value: getattr(value, "name", ""))
def test_the_committed_schema_is_what_the_models_say_run_make_schemas(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text


def test_every_key_of_a_document_is_described_for_editors() -> None:
    documents = {path.name: json.loads(text) for path, text in schemas().items()}
    parts = [part for schema in documents.values() for part in (schema, *schema["$defs"].values())]
    undescribed = [
        name
        for part in parts
        for name, key in part["properties"].items()
        if "description" not in key and name not in ("type", "kind", "probe", "effect")
    ]
    assert undescribed == []
