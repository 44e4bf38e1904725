"""A drill's record as JSON: in the evidence, in the answer of ``drtool drill``, and read again from either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from drtool.core.drill import Record
from drtool.errors import DrtoolError

_ADAPTER = TypeAdapter(Record)


def body_of(record: Record) -> dict[str, Any]:
    """Plain values, as ``read_record`` takes them."""
    body: dict[str, Any] = _ADAPTER.dump_python(record, mode="json")
    return body


def read_record(body: Mapping[str, Any]) -> Record:
    """Raises ``DrtoolError`` for what is no record, and says where."""
    try:
        return _ADAPTER.validate_python(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DrtoolError(f"this is no record of a drill: {where}: {first['msg'].lower()}") from None
