"""The name of MedGuard's own guard: whole where scores are kept by it, short where it is read. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from medguard.bundle import BundleConfig

__all__ = ["OWN_PREFIX", "bundle_digest", "own_name", "shown"]

OWN_PREFIX: Final = "medguard:"
_DIGITS: Final = 8
# "#" is no letter and no hyphen: a judge that runs the same classifier still finds the bundle's name.
_WITH_DIGEST: Final = re.compile(rf"({OWN_PREFIX}.*)#[0-9a-f]{{{_DIGITS}}}(@.*)", re.DOTALL)


def bundle_digest(config: BundleConfig) -> str:
    """Return eight digits that stand for a bundle's files, calibration and thresholds."""
    lines = (f"{name} {digest}" for name, digest in sorted(config.digests.items()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_DIGITS]


def own_name(config: BundleConfig, operating_point: str, policy: str = "") -> str:
    """Name MedGuard by its bundle, the bundle's content and the operating point.

    Args:
        config: Of the bundle.
        operating_point: At which it flags.
        policy: Digest of a policy of one's own; "" is the plain one.
    """
    own = f"+{policy}" if policy else ""
    return f"{OWN_PREFIX}{config.id}#{bundle_digest(config)}@{operating_point}{own}"


def shown(name: str) -> str:
    """Leave the bundle's digest out of the name of MedGuard's own guard; other names stay as they are."""
    found = _WITH_DIGEST.fullmatch(name)
    return name if found is None else "".join(found.groups())
