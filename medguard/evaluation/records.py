"""The typed records that the loaders yield. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AnswerLabel",
    "ContrastAnswer",
    "Dialogue",
    "HarmfulRequest",
    "Instruction",
    "JailbreakAttack",
    "JudgeLabel",
    "PubMedQuestion",
    "QuestionAnswer",
    "Request",
    "RequestLabel",
    "RestyledRequest",
    "SecondJudgeLabel",
    "XSTestCompletion",
    "XSTestPrompt",
]


@dataclass(frozen=True, slots=True)
class Request:
    """A request of the project's own sets, or of a list of general-harm behaviours."""

    id: str
    prompt: str
    request_harm: int | None = None
    """The judge's label, 0 benign to 3 severe; None where nobody judged."""
    contrasts_with: str | None = None
    """Id of the harmful request whose benign twin this is."""
    principle: int | None = None
    """AMA principle (1 to 9) of the harmful twin."""
    violates: tuple[int, ...] | None = None
    """AMA principles that fulfilling the request would violate; None where nobody judged."""
    topic: str | None = None
    """Topic, or category of harm."""


@dataclass(frozen=True, slots=True)
class RestyledRequest:
    """A rephrasing of another request."""

    id: str
    derived_from: str
    """Id of the request that is rephrased."""
    style: str
    """``indirect``, ``role-play``, ``obscured`` or ``long context`` as the file names it."""
    prompt: str
    request_harm: int
    """Evaluation file: a blind judge's label. Training file: the label of the request rephrased."""


@dataclass(frozen=True, slots=True)
class HarmfulRequest:
    """A request of MedSafetyBench."""

    id: str
    """``msb-<split>-<author>-c<principle>-<row>``, or ``msb-llama3-c<principle>-<line>``."""
    author: str
    """Model that wrote the request: ``gpt4``, ``llama2`` or ``llama3``."""
    principle: int
    prompt: str
    safe_response: str | None = None


@dataclass(frozen=True, slots=True)
class JudgeLabel:
    """A subject model's answer to a MedSafetyBench request, with the judge's labels."""

    id: str
    """Id of the `HarmfulRequest`."""
    principle: int
    response: str
    request_harm: int
    """0 benign to 3 severe."""
    violates: tuple[int, ...]
    """AMA principles that fulfilling the request would violate, the most central first."""
    harmfulness: int
    """1 declines to 5 fully serves."""


@dataclass(frozen=True, slots=True)
class SecondJudgeLabel:
    """An independent second judge's labels."""

    id: str
    request_harm: int
    violates: tuple[int, ...]
    harmfulness: int


@dataclass(frozen=True, slots=True)
class RequestLabel:
    """The judge's label of a request that stays upstream."""

    id: str
    request_harm: int
    violates: tuple[int, ...] | None = None
    """AMA principles that fulfilling the request would violate; None where nobody judged."""


@dataclass(frozen=True, slots=True)
class AnswerLabel:
    """An answer with the judge's label; the request is elsewhere."""

    id: str
    """Id of the request, with a suffix of a letter: ``-f`` sampled with a forced affirmative opening, ``-a``
    decoded greedily, ``-r`` a short refusal and ``-c`` a short harmful answer written for the project."""
    response: str
    harmfulness: int

    @property
    def request_id(self) -> str:
        """Id of the request answered."""
        return self.id.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class ContrastAnswer:
    """A subject model's answer to a benign twin; not judged."""

    id: str
    """Id of the benign request."""
    response: str


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """A medical question with its answer."""

    id: str
    document_id: str
    """Document it was taken from; questions of one document belong together."""
    question: str
    answer: str | None
    focus: str | None = None
    """The condition or medicine asked about, where the source names it."""


@dataclass(frozen=True, slots=True)
class PubMedQuestion:
    """A biomedical question with contexts and the decision yes, no or maybe."""

    id: str
    question: str
    contexts: tuple[str, ...]
    long_answer: str
    decision: str
    is_test: bool
    """Whether it belongs to the published test split."""


@dataclass(frozen=True, slots=True)
class XSTestPrompt:
    """A prompt that is safe but sounds unsafe, or its unsafe contrast."""

    id: str
    prompt: str
    kind: str
    is_safe: bool


@dataclass(frozen=True, slots=True)
class XSTestCompletion:
    """A model's answer to an XSTest prompt with the human label."""

    id: str
    model: str
    prompt: str
    completion: str
    label: str
    """``1_full_compliance``, ``2_full_refusal`` or ``3_partial_refusal``."""


@dataclass(frozen=True, slots=True)
class JailbreakAttack:
    """A recorded attack of JailbreakBench."""

    id: str
    method: str
    target_model: str
    goal: str
    category: str
    prompt: str | None
    response: str | None
    jailbroken: bool

    @property
    def may_train(self) -> bool:
        """Whether the attack may train: PAIR on vicuna. The rest is for evaluation only."""
        return self.method == "PAIR" and self.target_model.startswith("vicuna")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation with the answer that people preferred and the one that they rejected."""

    id: str
    turns: tuple[tuple[str, str], ...]
    """(``human`` or ``assistant``, text) up to the last human turn."""
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """A benign everyday instruction."""

    id: str
    instruction: str
    input: str
    output: str
