"""The marker ``drtool/copy.json`` of a copy, and the errors that copies of every kind share."""

from __future__ import annotations

import json
from dataclasses import asdict

from drtool.core.model import Marker
from drtool.errors import CopyAbsent, MarkerDamaged, ObjectAltered


def encode(marker: Marker) -> str:
    return json.dumps({"version": 1} | asdict(marker), indent=1) + "\n"


def decode(text: str | bytes, copy: str, location: str) -> Marker:
    """Raises ``MarkerDamaged`` for anything that is not a marker."""
    try:
        fields = json.loads(text)
        return Marker(**{name: str(fields[name]) for name in Marker.__dataclass_fields__})
    except (ValueError, KeyError, TypeError):
        raise MarkerDamaged(
            f"copy {copy}: its marker in {location} is damaged",
            copy=copy,
            hint="drtool copies init writes it anew",
        ) from None


def absent(copy: str, location: str) -> CopyAbsent:
    return CopyAbsent(
        f"copy {copy} is absent: no marker in {location}",
        copy=copy,
        hint="mount its medium; if this copy is new: drtool copies init",
    )


def altered(key: str) -> ObjectAltered:
    return ObjectAltered(f"{key} is altered: its bytes do not match its name", hint="drtool backup")
