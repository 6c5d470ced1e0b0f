"""Runs each test of a guard twice, sync and async."""

from __future__ import annotations

import pytest

from tests.unit.guards import Driver


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Driver:
    return Driver(request.param)
