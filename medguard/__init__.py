"""MedGuard: guardrail middleware for medical language models."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medguard.audit import AuditLog
from medguard.checker import Checker
from medguard.classifier import Classifier
from medguard.errors import (
    AuditError,
    BlockedError,
    BundleError,
    DataError,
    GuardTimeoutError,
    InvalidInputError,
    MedGuardError,
    ModelError,
    PolicyError,
    ProviderError,
)
from medguard.policy import OnError, Policy
from medguard.scores import Scores
from medguard.telemetry import TelemetryObserver
from medguard.verdict import Action, Outcome, Stage, Verdict

if TYPE_CHECKING:
    from medguard.adapters import GuardedStr
    from medguard.guard import MedGuard

__version__ = "0.1.0"

__all__ = [
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

logging.getLogger(__name__).addHandler(logging.NullHandler())

# What stands on LangChain is imported at first use: `Checker` and the command line do without it.
_LAZY = {"GuardedStr": "medguard.adapters", "MedGuard": "medguard.guard"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'medguard' has no attribute {name!r}")
