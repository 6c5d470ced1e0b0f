"""The error tree of the library.

    MedGuardError
    ├── InvalidInputError      the text or object handed to the guard cannot be checked (also ValueError)
    │   ├── InputTooLargeError     longer than the policy allows
    │   └── UnsupportedLanguageError   in a language that the policy does not list
    ├── PolicyError            a policy file or value is wrong (also ValueError)
    ├── BundleError            a classifier bundle is missing, incomplete or altered
    ├── ProviderError          no usable inference runtime, or the runtime failed
    ├── GuardTimeoutError      a check took longer than the policy allows (also TimeoutError)
    ├── AuditError             the audit log cannot be written, or its settings are wrong
    ├── ModelError             the guarded model raised, or returned something unusable
    ├── BlockedError           blocked, and the model's answer type has no place for a refusal
    └── DataError              a dataset cannot be read
        ├── SourceUnavailableError     not in the mirror and not fetchable
        └── DigestMismatchError        fetched or mirrored content differs from the manifest

Messages name what was expected and what was found. They never quote user text: health data must not
reach logs through an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medguard.verdict import Verdict

__all__ = [
    "AuditError",
    "BlockedError",
    "BundleError",
    "DataError",
    "DigestMismatchError",
    "GuardTimeoutError",
    "InputTooLargeError",
    "InvalidInputError",
    "MedGuardError",
    "ModelError",
    "PolicyError",
    "ProviderError",
    "SourceUnavailableError",
    "UnsupportedLanguageError",
]


class MedGuardError(Exception):
    """Root of every error that MedGuard raises on purpose."""


class InvalidInputError(MedGuardError, ValueError):
    """The text or object handed to the guard cannot be checked."""


class InputTooLargeError(InvalidInputError):
    """The text is longer than the policy's ``max_chars``."""


class UnsupportedLanguageError(InvalidInputError):
    """The text is in a language that is not among the policy's ``languages``."""


class PolicyError(MedGuardError, ValueError):
    """A policy file or value is wrong."""


class BundleError(MedGuardError):
    """A classifier bundle is missing, incomplete or altered."""


class ProviderError(MedGuardError):
    """No usable inference runtime is installed, or the runtime failed."""


class GuardTimeoutError(MedGuardError, TimeoutError):
    """A check took longer than the policy's ``timeout_s``; the text is unchecked."""


class AuditError(MedGuardError):
    """The audit log cannot be written, or its settings are wrong."""


class ModelError(MedGuardError):
    """The guarded model raised, or returned something that is not an answer."""

    @classmethod
    def caused_by(cls, error: Exception) -> ModelError:
        """Wrap an exception of the model; its message may quote health text, so only its type is told."""
        if isinstance(error, ModelError):
            return error
        wrapped = cls(f"the guarded model raised {type(error).__name__}")
        wrapped.__cause__ = error
        return wrapped


class BlockedError(MedGuardError):
    """The guard blocked, and the model's answer type has no place for a refusal.

    Attributes:
        verdict: The verdict that blocked.
    """

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message)
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[BlockedError], tuple[str, Verdict]]:
        """Keep the verdict through pickle and copy."""
        return BlockedError, (str(self), self.verdict)


class DataError(MedGuardError):
    """A dataset or record file cannot be read."""


class SourceUnavailableError(DataError):
    """A source is neither in the local mirror nor in the cache, and cannot be fetched."""


class DigestMismatchError(DataError):
    """The content of a source differs from what the manifest records."""
