"""The manifest of upstream data: which repository at which commit, under which licence, for what use."""

from __future__ import annotations

import fnmatch
import hashlib
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from medguard.errors import DataError

__all__ = ["Source", "Use", "content_digest", "manifest", "source"]


class Use(StrEnum):
    """What a source may be used for."""

    TRAIN = "train"
    """Training, and evaluation on what was not trained on."""
    EVALUATE = "evaluate"
    """Evaluation only."""
    SPLIT = "split"
    """Some parts may train and others only evaluate; `Source.terms` says which."""


class Source(BaseModel):
    """One upstream repository at one commit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    owner: str
    repository: str
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    members: tuple[str, ...]
    """Patterns (`fnmatch`) of the files that are used, relative to the repository's root."""
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """`content_digest` of the files that are used."""
    licence: str
    use: Use
    terms: str
    """Which part may be used for what, in a sentence."""
    citation: str

    @property
    def archive_name(self) -> str:
        """File name of the pinned archive in a mirror or cache."""
        return f"{self.owner}+{self.repository}-{self.commit[:12]}.tar.gz"

    def uses(self, member: str) -> bool:
        """Whether the file at `member`, relative to the repository's root, is used."""
        return any(fnmatch.fnmatchcase(member, pattern) for pattern in self.members)


def content_digest(contents: Mapping[str, bytes]) -> str:
    """SHA-256 over the sorted paths with each file's SHA-256, so that the packing does not matter."""
    lines = (f"{hashlib.sha256(contents[path]).hexdigest()}  {path}\n" for path in sorted(contents))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@cache
def manifest() -> Mapping[str, Source]:
    """Every source by name, as ``sources.toml`` lists them."""
    text = files("medguard.evaluation").joinpath("sources.toml").read_text(encoding="utf-8")
    listed = tomllib.loads(text)
    return MappingProxyType({name: Source(name=name, **entry) for name, entry in listed.items()})


def source(name: str) -> Source:
    """Look up one source.

    Raises:
        DataError: The manifest has no source of that name.
    """
    try:
        return manifest()[name]
    except KeyError:
        raise DataError(f"unknown source {name!r}; known are {', '.join(manifest())}") from None
