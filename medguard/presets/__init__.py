"""Policies to start from, one YAML file each; a policy file names one under ``extends``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

__all__ = ["preset_fields", "preset_names", "preset_source"]

_SUFFIX = ".yaml"


@cache
def preset_names() -> tuple[str, ...]:
    """Names of the presets that ship with the library, sorted."""
    found = (item.name for item in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


@cache
def preset_source(name: str) -> str:
    """Return a preset's YAML, comments included.

    Raises:
        ValueError: There is no preset of that name.
    """
    if name not in preset_names():
        raise ValueError(f"unknown preset {name!r}; there are {', '.join(preset_names())}")
    return (files(__name__) / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def preset_fields(name: str) -> dict[str, Any]:
    """Return the fields that a preset sets.

    Raises:
        ValueError: There is no preset of that name.
    """
    fields: dict[str, Any] = yaml.safe_load(preset_source(name))
    return fields
