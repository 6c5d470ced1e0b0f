"""What a team wants the guard to do: a validated, frozen value that reads from YAML."""

from __future__ import annotations

import json
from collections.abc import Hashable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.config import JsonDict

from medguard.allowlist import check_pattern, matches_any
from medguard.errors import PolicyError
from medguard.presets import preset_fields, preset_names
from medguard.principles import category_names
from medguard.refusals import DEFAULT, check_templates, choose_template, fill
from medguard.verdict import Action, Stage, Verdict

__all__ = ["OnError", "OnMedia", "OtherLanguage", "Policy", "preset_names"]

Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

_CATEGORY_KEYS: Final[JsonDict] = {"propertyNames": {"enum": list(category_names())}}
_REFUSAL_KEYS: Final[JsonDict] = {"propertyNames": {"enum": [*category_names(), DEFAULT]}}

DEFAULT_CRISIS_LINE = "your local emergency number or crisis line"

DEFAULT_REFUSAL = (
    "I can't help with this request, because it conflicts with the principles of medical ethics. "
    "If you or someone near you is in danger, please contact your local emergency number or a health "
    "professional now."
)


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping names twice, of which YAML would silently drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [name for tag, name in keys if keys.count((tag, name)) > 1]:
            raise yaml.constructor.ConstructorError(problem=f"found {twice[0]!r} twice in one mapping")
        return super().construct_mapping(node, deep)


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


class OnMedia(StrEnum):
    """What happens to parts of a message that are not text: images, audio, files."""

    PASS = "pass"  # noqa: S105 - no password
    """They pass unchecked; the text beside them is checked."""
    BLOCK = "block"
    """A message with such a part counts as one that the guard failed to judge: see `OnError`."""


class Policy(BaseModel):
    """Thresholds, actions and failure behaviour of a guard.

    Unknown fields are refused, so that a misspelt setting never silently does nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    extends: str | None = Field(default=None, json_schema_extra={"enum": [*preset_names(), None]})
    """Name of the preset whose fields hold wherever this policy sets none of its own."""
    operating_point: str = "balanced"
    """Named thresholds of the bundle: ``strict``, ``balanced`` or ``permissive``."""
    prompt_threshold: Probability | None = None
    """Score at which a prompt trips; overrides the operating point."""
    response_threshold: Probability | None = None
    """Score at which a response trips; overrides the operating point."""
    category_thresholds: dict[str, Probability] = Field(
        default_factory=dict, json_schema_extra=_CATEGORY_KEYS
    )
    """Scores of single categories (``principle_1`` to ``principle_9``, ``general_harm``) at which a text
    trips too, whatever its score as a whole."""
    stages: frozenset[Stage] = Field(default=frozenset(Stage), min_length=1)
    """Which texts are checked; at least one."""
    action: Action = Action.BLOCK
    """What to do about a text that trips. One that could not be judged is a matter of `on_error`, under
    ``shadow`` too."""
    category_actions: dict[str, Action] = Field(default_factory=dict, json_schema_extra=_CATEGORY_KEYS)
    """Exceptions to `action` by the category most at stake (``principle_1`` to ``principle_9``,
    ``general_harm``)."""
    on_error: OnError = OnError.BLOCK
    """What to do about a text that the guard failed to judge."""
    languages: frozenset[str] | None = Field(default=None, min_length=1)
    """ISO 639 codes of the languages that the guard is trusted in (the bundled classifier learnt English).
    None: no language is detected. Needs ``medguard[language]``."""
    other_languages: OtherLanguage = OtherLanguage.FAIL
    """What to do about text in a language that is not listed."""
    allow_patterns: tuple[str, ...] = ()
    """Regular expressions of texts that are not judged. One must match a text in full, whatever the case,
    after Unicode compatibility folding (NFKC) and with white space folded to single blanks. Texts over 500
    characters are always judged. Whoever knows a pattern with a wildcard can say anything in its place."""
    refusal: str = Field(default=DEFAULT_REFUSAL, min_length=1)
    """Answer given instead of a blocked one where `refusals` has none for it; taken as it is."""
    refusals: dict[str, dict[str, str]] = Field(default_factory=dict, json_schema_extra=_REFUSAL_KEYS)
    """Answers given instead of a blocked one: by category (or ``default``), then by the ISO 639 code of the
    language detected (or ``default``). They may hold ``{crisis_line}`` and ``{category}``."""
    crisis_line: str = Field(default=DEFAULT_CRISIS_LINE, min_length=1)
    """Whom to call in a crisis, as `refusals` name it."""
    redaction: str = "[removed]"
    """What stands in an answer for the part that action ``redact`` took out."""
    max_chars: int = Field(default=32_000, ge=1)
    """Longest text that is judged, in characters; a longer one counts as a failure to judge."""
    timeout_s: Seconds | None = None
    """Longest time that one check may take, in seconds; a longer one counts as a failure to judge. Of texts
    given to `Checker.check_prompts`, and of the inputs of a guard's `batch`, each has this time."""
    context_turns: int = Field(default=4, ge=0)
    """How many earlier turns of the user the last one is also read together with; 0: it is read alone."""
    stream_window_chars: int = Field(default=400, ge=1)
    """Length of the windows in which a streamed answer is judged, in characters."""
    stream_stride_chars: int = Field(default=200, ge=1)
    """Distance from the start of one such window to the next, in characters; at most the window's length."""
    stream_context_chars: int = Field(default=300, ge=0)
    """How many characters of the answer before such a window are read with it. Without them more harmless
    answers are stopped, for what begins in mid-sentence is taken for worse than it is."""
    check_tool_results: bool = True
    """Whether what tools return is checked before the model reads it."""
    check_system: bool = False
    """Whether system prompts are checked with the user's turns."""
    media: OnMedia = OnMedia.PASS
    """What to do about parts of a message that are not text."""
    record_text: bool = False
    """Whether the audit log may hold the texts themselves, which are health data."""

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(name := data.get("extends"), str):
            return {**preset_fields(name), **data}
        return data

    @field_validator("category_actions", "category_thresholds")
    @classmethod
    def _known_categories(cls, value: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(value) - set(category_names())):
            raise ValueError(f"unknown categories {unknown}; known are {', '.join(category_names())}")
        return value

    @field_validator("allow_patterns")
    @classmethod
    def _sound_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_pattern(pattern) for pattern in value)

    @field_validator("refusals")
    @classmethod
    def _sound_refusals(cls, value: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        check_templates(value)
        return value

    @model_validator(mode="after")
    def _windows_leave_no_gap(self) -> Policy:
        if self.stream_stride_chars > self.stream_window_chars:
            raise ValueError(
                f"stream_stride_chars {self.stream_stride_chars} is over stream_window_chars "
                f"{self.stream_window_chars}: text between two windows would not be judged"
            )
        return self

    def action_for(self, category: str | None) -> Action:
        """Return the action for a text that tripped on `category` (None: no category stands out)."""
        return self.action if category is None else self.category_actions.get(category, self.action)

    def refusal_for(self, verdict: Verdict) -> str:
        """Return what stands in place of the text that `verdict` is about, by its category and language."""
        template = choose_template(self.refusals, verdict.category, verdict.language)
        if template is None:
            return self.refusal
        return fill(template, crisis_line=self.crisis_line, category=verdict.category)

    def is_allowlisted(self, text: str) -> bool:
        """Whether `text` passes unjudged because one of `allow_patterns` matches it in full."""
        return matches_any(self.allow_patterns, text)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON schema (draft 2020-12) of policy files, for editors that complete and check."""
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **cls.model_json_schema()}

    @classmethod
    def preset(cls, name: str) -> Policy:
        """Return a preset: ``patient-facing``, ``clinician-facing`` or ``research``.

        Raises:
            PolicyError: There is no preset of that name.
        """
        return cls.from_mapping({"extends": name})

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
            PolicyError: The file cannot be read, is not YAML, names a field twice, or is not a policy.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise PolicyError(f"cannot read policy file {path}: {error}") from error
        return cls.from_content(content, path)

    @classmethod
    def from_content(cls, content: bytes, path: str | Path) -> Policy:
        """Read what a policy file holds, for callers that have read the file themselves.

        Args:
            content: The file's bytes.
            path: Where they are from, for error messages.

        Raises:
            PolicyError: As `from_yaml`.
        """
        try:
            data = yaml.load(content.decode("utf-8"), Loader=_Loader)  # noqa: S506 - a safe one
        except UnicodeDecodeError as error:
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
        has_rare_break = not {"\x85", "\u2028", "\u2029"}.isdisjoint(json.dumps(data, ensure_ascii=False))
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=not has_rare_break)
