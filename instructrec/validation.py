"""Check settings and arguments by pydantic; a fault raises an `InputError` of one line.

class ItemKNNConfig(ModelConfig):
k: PositiveInt = 200

check_value("n", n, PositiveInt)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from instructrec.errors import InputError, one_of

T = TypeVar("T", bound=BaseModel)


class Accepts(NamedTuple):
    """Description of the accepted values of a type; it ends the error message about any other value."""

    description: str


def _plain_number(value: Any) -> Any:
    """Return a NumPy number as a Python number, and any other value as it is."""
    return value.item() if isinstance(value, np.integer | np.floating) else value


_NUMPY = BeforeValidator(_plain_number)
_MAX_SEED = 2**32 - 1

WholeNumber = Annotated[int, _NUMPY, Accepts("a whole number")]
PositiveInt = Annotated[int, _NUMPY, Field(ge=1), Accepts("a whole number of at least 1")]
NonNegativeInt = Annotated[int, _NUMPY, Field(ge=0), Accepts("a whole number of at least 0")]
Seed = Annotated[int, _NUMPY, Field(ge=0, le=_MAX_SEED), Accepts("a whole number from 0 to 2**32 - 1")]
PositiveFloat = Annotated[float, _NUMPY, Field(gt=0, allow_inf_nan=False), Accepts("a number above 0")]
NonNegativeFloat = Annotated[
    float, _NUMPY, Field(ge=0, allow_inf_nan=False), Accepts("a number of at least 0")
]
Share = Annotated[float, _NUMPY, Field(ge=0, lt=1), Accepts("a number in [0, 1)")]
ClosedShare = Annotated[float, _NUMPY, Field(ge=0, le=1), Accepts("a number in [0, 1]")]
HistoryLength = Annotated[PositiveInt | None, Accepts("a whole number of at least 1, or None for all,")]
"""Number of a history's last items that are used; None for all."""


@cache
def whole_number(minimum: int) -> Any:
    """Return the type of whole numbers of at least `minimum`, for `check_value`."""
    return Annotated[int, _NUMPY, Field(ge=minimum), Accepts(f"a whole number of at least {minimum}")]


class ModelConfig(BaseModel):
    """Settings of a model: each has a type, a default and an admissible range, and none can be changed later.

    Raises:
        InputError: An unknown setting, or a value out of its range (from `read_config`).
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())


def read_config(config_class: type[T], settings: Mapping[str, Any], owner: str) -> T:
    """Return the configuration with these settings, the others at their defaults.

    Args:
        config_class: Class of the configuration.
        settings: Values by name.
        owner: Owner of the settings for error messages, such as "item-knn".

    Raises:
        InputError: An unknown setting, or a value that is not accepted: names it and what would be accepted.
    """
    fields = config_class.model_fields
    for name in settings:
        if name not in fields:
            raise one_of(f"setting of {owner}", name, list(fields) or ["none"])
    try:
        return config_class(**settings)
    except ValidationError as error:
        raise _input_error(
            error, {name: field.metadata for name, field in fields.items()}, config_class
        ) from None


def check_value(name: str, value: Any, kind: Any) -> Any:
    """Return a value as its type has it.

    Args:
        name: Name of the value in the message.
        value: The value.
        kind: A type of this module, or any other type with `Accepts` in its annotation.

    Raises:
        InputError: The value is not accepted.
    """
    try:
        return _adapter(kind).validate_python(value, strict=True)
    except ValidationError:
        raise InputError(f"{name} is {value!r}; {_description(kind, ())} is accepted") from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _input_error(
    error: ValidationError, metadata: Mapping[str, list[Any]], config_class: type[BaseModel]
) -> InputError:
    """Return the first mistake of a configuration as one line."""
    mistake = error.errors()[0]
    if not mistake["loc"]:  # a validator of the whole configuration
        return InputError(str(mistake["ctx"]["error"]) if "ctx" in mistake else mistake["msg"])
    name = str(mistake["loc"][0])
    annotation = config_class.model_fields[name].annotation
    value = mistake["input"]
    if get_origin(annotation) is Literal:
        return one_of(name, value, get_args(annotation))
    if mistake["type"] == "value_error":  # a validator of this field
        return InputError(str(mistake["ctx"]["error"]))
    return InputError(f"{name} is {value!r}; {_description(annotation, metadata[name])} is accepted")


def _description(kind: Any, metadata: Any) -> str:
    """Return the description of the values that a type accepts."""
    for entry in (*metadata, *getattr(kind, "__metadata__", ())):
        if isinstance(entry, Accepts):
            return entry.description
    if kind is bool:
        return "True or False"
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    if members:
        return " or ".join("None" if member is type(None) else _description(member, ()) for member in members)
    return f"a value of type {getattr(kind, '__name__', kind)}"
