"""Skip what needs upstream data where there is none, with a reason that the closing summary shows."""

from __future__ import annotations

import pytest

from medguard.evaluation.archives import MIRROR_VARIABLE, find_archive
from medguard.evaluation.sources import manifest

__all__ = ["requires_upstream"]


def requires_upstream(*names: str) -> pytest.MarkDecorator:
    """Skip unless the archives of the sources `names` (none: of every source) are at hand; never fetch."""
    wanted = names or tuple(manifest())
    missing = [name for name in wanted if find_archive(manifest()[name]) is None]
    reason = f"no archive of {', '.join(missing)}: point {MIRROR_VARIABLE} at the folder that holds it"
    return pytest.mark.skipif(bool(missing), reason=reason)
