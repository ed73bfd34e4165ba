"""Finds the kinds of probes, channels and hooks: a new file in their package is all it takes.

Owns discovery and the tagged union built from it. Names no kind.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from monitor.fields import Model

KIND = "kind"
ModelT = TypeVar("ModelT", bound=Model)


def discover(base: type[ModelT]) -> dict[str, type[ModelT]]:
    """Return the models of every kind, by the value of `kind`, in alphabetical order.

    Imports all modules of the package that `base` lives in and takes the subclasses of `base`
    whose `kind` is a Literal.
    """
    package = importlib.import_module(base.__module__.rpartition(".")[0])
    found: dict[str, type[ModelT]] = {}
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for member in vars(importlib.import_module(info.name)).values():
            if isinstance(member, type) and issubclass(member, base):
                found.update(dict.fromkeys(_names(member), member))
    return dict(sorted(found.items()))


def _names(model: type[Model]) -> tuple[str, ...]:
    annotation = model.model_fields[KIND].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


@dataclass(frozen=True, slots=True)
class OfAnyKind:
    """Annotation of a field that holds any kind of `base`; kinds are found when first used."""

    base: type[Model]

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the union, told apart by `kind`."""
        choices: dict[Any, CoreSchema] = {
            name: handler.generate_schema(model) for name, model in discover(self.base).items()
        }
        return core_schema.tagged_union_schema(choices, discriminator=KIND)
