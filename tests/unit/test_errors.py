from __future__ import annotations

import inspect
import pickle

import pytest

import medguard
from medguard import errors
from medguard.decision import skipped
from medguard.verdict import Stage

ERRORS = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_the_one_root(error: type[Exception]) -> None:
    assert issubclass(error, errors.MedGuardError)
    assert error.__name__.endswith("Error")
    assert error.__name__ in (errors.__doc__ or "")
    assert error.__doc__


def test_the_module_exports_every_error() -> None:
    defined = [
        name
        for name, item in vars(errors).items()
        if inspect.isclass(item) and item.__module__ == errors.__name__
    ]
    assert sorted(defined) == errors.__all__


@pytest.mark.parametrize("error", [errors.InvalidInputError, errors.InputTooLargeError, errors.PolicyError])
def test_wrong_values_are_value_errors(error: type[Exception]) -> None:
    assert issubclass(error, ValueError)


def test_blocked_error_carries_the_verdict() -> None:
    verdict = skipped(Stage.PROMPT)
    error = medguard.BlockedError("blocked", verdict)
    assert (str(error), error.verdict) == ("blocked", verdict)


def test_model_error_tells_the_type_and_keeps_the_cause() -> None:
    cause = KeyError("private words")
    error = errors.ModelError.caused_by(cause)
    assert str(error) == "the guarded model raised KeyError"
    assert error.__cause__ is cause


def test_a_guard_timeout_is_a_timeout_and_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(errors.GuardTimeoutError("too long")))  # noqa: S301 - made here
    assert isinstance(error, TimeoutError)
    assert str(error) == "too long"
