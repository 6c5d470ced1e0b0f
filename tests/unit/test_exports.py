from __future__ import annotations

import importlib
import pkgutil

import pytest

import medguard

PUBLIC = [
    "Action",
    "AuditError",
    "AuditLog",
    "BlockedError",
    "BundleError",
    "Checker",
    "Classifier",
    "DataError",
    "GuardTimeoutError",
    "GuardedStr",
    "InvalidInputError",
    "MedGuard",
    "MedGuardError",
    "ModelError",
    "OnError",
    "Outcome",
    "Policy",
    "PolicyError",
    "ProviderError",
    "Scores",
    "Stage",
    "TelemetryObserver",
    "Verdict",
]
CORE = [
    f"medguard.{module.name}"
    for module in pkgutil.iter_modules(medguard.__path__)
    if module.name not in ("cli", "evaluation", "__main__")
]


def test_the_public_names_are_pinned() -> None:
    assert medguard.__all__ == PUBLIC == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(medguard, name).__name__ == name


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Guard'"):
        _ = medguard.Guard  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CORE)
def test_exports_of_modules_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert all(hasattr(module, item) for item in module.__all__)
