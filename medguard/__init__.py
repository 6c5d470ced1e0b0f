"""MedGuard: guardrail middleware for medical language models."""

from __future__ import annotations

import logging

from medguard.adapters import GuardedStr
from medguard.classifier import Classifier
from medguard.errors import (
    BlockedError,
    BundleError,
    DataError,
    InvalidInputError,
    MedGuardError,
    ModelError,
    PolicyError,
    ProviderError,
)
from medguard.guard import MedGuard
from medguard.policy import OnError, Policy
from medguard.scores import Scores
from medguard.verdict import Action, Outcome, Stage, Verdict

__version__ = "0.1.0"

__all__ = [
    "Action",
    "BlockedError",
    "BundleError",
    "Classifier",
    "DataError",
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
    "Verdict",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
