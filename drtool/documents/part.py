"""What every piece of a document shares: frozen, no unknown keys, and every mistake told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from drtool.documents.secrecy import KEEP_IT_IN_A_FILE, LITERAL, names_a_secret

MISTAKE = "mistake"
AT_KEY = "mistake_at_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a document is being read: what paths are relative to, and whether to look at the secrets' files.

    With ``lacking`` the files of database accounts need not be there: they often lie in /etc, and so in a backup, and
    whoever brings that back on a new machine has only the estate.
    """

    folder: Path
    look: bool = True
    lacking: bool = False


def mistake(message: str, *, at_key: bool = False) -> PydanticCustomError:
    """An error whose message is in our own words and is shown as it is."""
    return PydanticCustomError(AT_KEY if at_key else MISTAKE, "{words}", {"words": message})


def quoted(text: str) -> str:
    """Text from a document inside a message: in quotes, and harmless to a terminal."""
    return f"'{text}'" if text.isprintable() else repr(text)


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, or nothing where no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


class Part(BaseModel):
    """A mapping in a document."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, defer_build=True)

    one_of: ClassVar[tuple[str, ...]] = ()
    """Keys of which exactly one must be there."""
    confidential: ClassVar[bool] = False
    """An unknown key here may be a secret that was put in the wrong place, so it is not repeated."""

    @classmethod
    def known_keys(cls) -> tuple[str, ...]:
        """The keys that are known here, as they are written."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @classmethod
    def mistakes_in(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """What the types of the single fields cannot say; overridden with ``yield from super()``."""
        yield from cls._unknown_keys(data)
        for key in data:
            if data[key] is None and key in cls.known_keys():
                yield found(mistake("has no value; give one or leave the key out", at_key=True), key)
        yield from cls._not_exactly_one(data)

    @classmethod
    def _unknown_keys(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        known = cls.known_keys()
        for key in (key for key in data if key not in known):
            if cls.confidential:
                yield found(mistake(f"unknown key; known here: {', '.join(known)}; never the secret itself"))
                continue
            elif names_a_secret(key) and not nearest(key, known):
                message = f"unknown key {quoted(key)}; {LITERAL}: {KEEP_IT_IN_A_FILE}"
            else:
                suggestion = nearest(key, known) or f"; known here: {', '.join(known)}"
                message = f"unknown key {quoted(key)}{suggestion}"
            yield found(mistake(message, at_key=True), key)

    @classmethod
    def _not_exactly_one(cls, data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        given = [key for key in data if key in cls.one_of]
        allowed = ", ".join(cls.one_of)
        if cls.one_of and not given:
            near = [nearest(key, cls.one_of) for key in data if key not in cls.known_keys()]
            if not any(near):
                yield found(mistake(f"one of these keys is missing: {allowed}"))
        for second in given[1:] if cls.one_of else ():
            yield found(mistake(f"only one of these keys may be given: {allowed}", at_key=True), second)

    @classmethod
    def refuse_other(cls, data: object) -> None:
        """Raise where something else than a mapping needs more than the usual words."""

    @model_validator(mode="wrap")
    @classmethod
    def _every_mistake(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Join pydantic's errors with our own, which it would otherwise show only one kind of."""
        if not isinstance(data, dict | cls):
            cls.refuse_other(data)
        errors = list(cls.mistakes_in(data)) if isinstance(data, dict) else []
        try:
            part = handler(data)
        except ValidationError as error:
            errors += _carried_on(error)
        else:
            if not errors:
                return part
        raise ValidationError.from_exception_data(cls.__name__, errors, hide_input=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.one_of:
            schema["oneOf"] = [{"required": [key]} for key in cls.one_of]
        return schema


def found(error: PydanticCustomError, *steps: str | int) -> InitErrorDetails:
    """An error at a place below the present mapping; the input is left out, it may be a secret."""
    return InitErrorDetails(type=error, loc=steps, input=None)


def _carried_on(error: ValidationError) -> Iterator[InitErrorDetails]:
    """The errors of the fields, without their values; unknown keys are told by ``mistakes_in`` already."""
    for detail in error.errors(include_url=False, include_input=False):
        if detail["type"] == "extra_forbidden":
            continue
        kind = PydanticCustomError(detail["type"], "{words}", {"words": "", **detail.get("ctx", {})})
        yield InitErrorDetails(type=kind, loc=detail["loc"], input=None)
