"""What a team wants the guard to do: a validated, frozen value that reads from YAML."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from medguard.errors import PolicyError
from medguard.principles import category_names
from medguard.verdict import Action, Stage

__all__ = ["OnError", "OtherLanguage", "Policy"]

Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]

DEFAULT_REFUSAL = (
    "I can't help with this request, because it conflicts with the principles of medical ethics. "
    "If you or someone near you is in danger, please contact your local emergency number or a health "
    "professional now."
)


class OnError(StrEnum):
    """What happens to a text that the guard failed to judge."""

    BLOCK = "block"
    """Treat it as blocked: fail closed."""
    ALLOW = "allow"
    """Let it through unchecked; logged as a warning every time."""
    RAISE = "raise"
    """Raise the error to the caller."""


class OtherLanguage(StrEnum):
    """What happens to a text in a language that the policy does not list."""

    FAIL = "fail"
    """It counts as one that the guard failed to judge: see `OnError`."""
    SCORE = "score"
    """It is scored all the same, and the verdict names the language."""


class Policy(BaseModel):
    """Thresholds, actions and failure behaviour of a guard.

    Unknown fields are refused, so that a misspelt setting never silently does nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operating_point: str = "balanced"
    """Named thresholds of the bundle: ``strict``, ``balanced`` or ``permissive``."""
    prompt_threshold: Probability | None = None
    """Score at which a prompt trips; overrides the operating point."""
    response_threshold: Probability | None = None
    """Score at which a response trips; overrides the operating point."""
    stages: frozenset[Stage] = Field(default=frozenset(Stage), min_length=1)
    """Which texts are checked; at least one."""
    action: Action = Action.BLOCK
    """What to do about a text that trips."""
    category_actions: dict[str, Action] = Field(default_factory=dict)
    """Exceptions to `action` by the category most at stake (``principle_1`` to ``principle_9``,
    ``general_harm``)."""
    on_error: OnError = OnError.BLOCK
    """What to do about a text that the guard failed to judge."""
    languages: frozenset[str] | None = Field(default=None, min_length=1)
    """ISO 639 codes of the languages that the guard is trusted in (the bundled classifier learnt English).
    None: no language is detected. Needs ``medguard[language]``."""
    other_languages: OtherLanguage = OtherLanguage.FAIL
    """What to do about text in a language that is not listed."""
    refusal: str = Field(default=DEFAULT_REFUSAL, min_length=1)
    """Answer given instead of a blocked one."""
    max_chars: int = Field(default=32_000, ge=1)
    """Longest text that is judged, in characters; a longer one counts as a failure to judge."""

    @field_validator("category_actions")
    @classmethod
    def _known_categories(cls, value: dict[str, Action]) -> dict[str, Action]:
        if unknown := sorted(set(value) - set(category_names())):
            raise ValueError(f"unknown categories {unknown}; known are {', '.join(category_names())}")
        return value

    def action_for(self, category: str | None) -> Action:
        """Return the action for a text that tripped on `category` (None: no category stands out)."""
        return self.action if category is None else self.category_actions.get(category, self.action)

    @classmethod
    def from_mapping(cls, data: Any) -> Policy:
        """Validate a mapping.

        Raises:
            PolicyError: The mapping is not a policy; the message lists every wrong field.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'policy'}: {item['msg']}" for item in error.errors()
            )
            raise PolicyError(f"not a valid policy: {wrong}") from error

    @classmethod
    def from_yaml(cls, path: str | Path) -> Policy:
        """Read a policy file (an empty file is the default policy).

        Raises:
            PolicyError: The file cannot be read, is not YAML, or is not a policy.
        """
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyError(f"cannot read policy file {path}: {error}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date in month 13
            raise PolicyError(f"policy file {path} is not YAML: {error}") from error
        return cls.from_mapping({} if data is None else data)

    def to_yaml(self) -> str:
        """Return the policy as YAML that `from_yaml` reads back."""
        data = self.model_dump(mode="json")
        for name in ("stages", "languages"):
            data[name] = None if data[name] is None else sorted(data[name])
        # The rarer line breaks come back as spaces unless they are escaped.
        has_rare_break = not {"\x85", "\u2028", "\u2029"}.isdisjoint(self.refusal + self.operating_point)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=not has_rare_break)
