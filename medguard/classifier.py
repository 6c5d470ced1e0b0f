"""The classifier: text in, calibrated scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from medguard.bundle import Bundle, Calibration, OperatingPoint, default_bundle_path
from medguard.errors import BundleError, InvalidInputError, ProviderError
from medguard.long_words import original_offsets, split_long_words
from medguard.normalize import Form, forms
from medguard.runtime import Device, Session, candidate_devices, open_session
from medguard.scores import LABELS, Scores, calibrated, request_scores
from medguard.windows import DecidingWindow, fit_context, spans

__all__ = ["Classifier", "Scorer"]

# Padded tokens per run: enough to fill a GPU, small enough to keep memory flat.
_BATCH_TOKENS: Final = 4096
_ANSWER_HARMFUL: Final = LABELS.index("harmfulness>=4")


class Scorer(Protocol):
    """What a guard needs of a classifier."""

    @property
    def id(self) -> str:
        """Identifier recorded in verdicts."""

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """Named thresholds."""

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        """Score requests, or answers to them."""


@dataclass(frozen=True, slots=True)
class _Window:
    item: int
    ids: list[int]
    types: list[int]
    form: int = 0
    """Index of the form of the text that the window is a part of."""
    start: int = 0
    """First token of that form in the window."""


class Classifier:
    """A bundle's ONNX graph with its tokenizer, windows and calibration.

    Safe to share between threads: nothing is mutated after loading.
    """

    def __init__(self, bundle: Bundle, *, device: Device = Device.AUTO, threads: int | None = None) -> None:
        """Open `bundle` on `device`; see `load` for the arguments and errors."""
        self.config = bundle.config
        self._tokenizer = _read_tokenizer(bundle)
        self.device, self._session = _open_first(bundle, candidate_devices(device), threads)
        special = self.config.special_tokens
        self._start, self._separator, self._padding = (
            self._special(name) for name in (special.start, special.separator, special.padding)
        )
        calibration = [self.config.calibration.get(label, Calibration()) for label in LABELS]
        self._below, self._above, self._offset = np.array(
            [(item.below, item.above, item.offset) for item in calibration], dtype=np.float64
        ).T

    @classmethod
    def load(
        cls, path: str | Path | None = None, *, device: str = "auto", threads: int | None = None
    ) -> Classifier:
        """Load a bundle.

        Args:
            path: Folder of the bundle; None for the one that ships with the library.
            device: ``auto``, ``cpu`` or ``gpu``.
            threads: Threads of this classifier's session; None leaves the choice to onnxruntime.

        Raises:
            BundleError: The bundle is missing, incomplete or altered.
            ProviderError: onnxruntime is missing or cannot offer the device.
            ValueError: `device` is none of the three.
        """
        return cls(
            Bundle(default_bundle_path() if path is None else path), device=Device(device), threads=threads
        )

    @property
    def id(self) -> str:
        """Identifier of the bundle, such as ``mpnet9-v6``."""
        return self.config.id

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """Named thresholds of the bundle."""
        return self.config.operating_points

    @overload
    def score(self, prompt: str, response: str | None = None) -> Scores: ...  # type: ignore[overload-overlap]
    @overload
    def score(self, prompt: Sequence[str], response: Sequence[str] | None = None) -> list[Scores]: ...
    def score(
        self, prompt: str | Sequence[str], response: str | Sequence[str] | None = None
    ) -> Scores | list[Scores]:
        """Score one text or many; see `score_many`."""
        if isinstance(prompt, str):
            if response is not None and not isinstance(response, str):
                raise InvalidInputError(
                    f"one prompt takes one response: expected str, found {type(response).__name__}"
                )
            return self.score_many([prompt], None if response is None else [response])[0]
        if isinstance(response, str):
            raise InvalidInputError("several prompts take a sequence of responses, found one str")
        return self.score_many(prompt, response)

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        """Score requests alone, or answers in the light of their requests.

        Every text is scored as it is and in its plain reading (`medguard.normalize.forms`), in overlapping
        windows; the worst window decides. Windows are batched by length.

        Args:
            prompts: Requests; may be empty strings where only the answer is known.
            responses: Answers, one for each prompt; None scores the requests.

        Returns:
            Scores in the order given.

        Raises:
            InvalidInputError: Not strings, lengths that differ, or a text without a readable token.
            ProviderError: The runtime failed.
        """
        windows: list[_Window] = []
        for item, text in enumerate(_checked(prompts, responses)):
            windows.extend(self._windows(item, *text))
        probabilities = self._run(windows)
        deciding = _deciding(probabilities, responses is not None)
        worst: dict[int, int] = {}
        counts = [0] * len(prompts)
        for index, window in enumerate(windows):
            counts[window.item] += 1
            best = worst.setdefault(window.item, index)
            if deciding[index] > deciding[best]:
                worst[window.item] = index
        return [
            _scores(probabilities[worst[item]], responses is not None, counts[item])
            for item in range(len(prompts))
        ]

    def deciding_window(self, prompt: str, response: str | None = None) -> DecidingWindow:
        """Find the window whose score decides about a request, or about an answer to it.

        Raises:
            InvalidInputError: Not a string, or a text without a readable token.
            ProviderError: The runtime failed.
        """
        _checked([prompt], None if response is None else [response])
        windows = self._windows(0, prompt, response)
        probabilities = self._run(windows)
        best = int(_deciding(probabilities, response is not None).argmax())
        context = None if response is None else self._context(prompt)
        kind, text, ids = self._forms(prompt if response is None else response)[windows[best].form]
        start = windows[best].start
        part = slice(start, start + len(windows[best].ids) - _reserved(context))
        encoding = self._encoding(text)
        return DecidingWindow(
            form=kind,
            text=text,
            scores=_scores(probabilities[best], response is not None, len(windows)),
            ids=tuple(ids[part]),
            offsets=tuple(original_offsets(text, encoding.offsets[part])),
            words=tuple(encoding.word_ids[part]),
            context=None if context is None else tuple(context),
        )

    def score_without(self, window: DecidingWindow, parts: Sequence[tuple[int, int]]) -> list[Scores]:
        """Score `window` once for each part, with that part left out.

        Args:
            window: What `deciding_window` of this classifier gave.
            parts: Half-open token positions within the window.

        Raises:
            ProviderError: The runtime failed.
        """
        context = None if window.context is None else list(window.context)
        kept = [[*window.ids[:start], *window.ids[end:]] for start, end in parts]
        probabilities = self._run([self._window(0, context, ids) for ids in kept])
        return [_scores(row, context is not None, 1) for row in probabilities]

    def _windows(self, item: int, prompt: str, response: str | None) -> list[_Window]:
        found = self._forms(prompt if response is None else response)
        if not found:
            raise InvalidInputError("the guard checks text: found no readable character in it")
        context = None if response is None else self._context(prompt)
        size = self.config.max_tokens - _reserved(context)
        stride = min(size, self.config.stride_tokens)
        return [
            self._window(item, context, ids[start:end], form, start)
            for form, (_, _, ids) in enumerate(found)
            for start, end in spans(len(ids), size, stride)
        ]

    def _forms(self, text: str) -> list[tuple[Form, str, list[int]]]:
        """List the forms to score with their tokens; those that read alike are scored once."""
        found: list[tuple[Form, str, list[int]]] = []
        for kind, form in forms(text, self._is_word):
            if (ids := self._encode(form)) and all(ids != other for _, _, other in found):
                found.append((kind, form, ids))
        return found

    def _context(self, prompt: str) -> list[int]:
        return fit_context(self._encode(prompt), self.config.context_tokens)

    def _window(
        self, item: int, context: list[int] | None, part: list[int], form: int = 0, start: int = 0
    ) -> _Window:
        if context is None:
            ids, types = [self._start, *part, self._separator], [0] * (len(part) + 2)
        else:
            ids = [self._start, *context, self._separator, *part, self._separator]
            types = [0] * (len(context) + 2) + [1] * (len(part) + 1)
        return _Window(item, ids, types, form, start)

    def _run(self, windows: list[_Window]) -> NDArray[np.float64]:
        """Return calibrated probabilities, float64 of shape (windows, labels)."""
        logits = np.zeros((len(windows), len(LABELS)), dtype=np.float64)
        # Int8 graphs, the CPU's, scale activations by the largest in the run: in company a window would score
        # otherwise than alone. Running windows one by one costs a CPU little.
        limit = _BATCH_TOKENS if self.device is Device.GPU else 1
        for batch in _batches(windows, limit):
            width = len(windows[batch[-1]].ids)
            ids = np.full((len(batch), width), self._padding, dtype=np.int64)
            mask, types = np.zeros_like(ids), np.zeros_like(ids)
            for row, index in enumerate(batch):
                window = windows[index]
                ids[row, : len(window.ids)] = window.ids
                types[row, : len(window.ids)] = window.types
                mask[row, : len(window.ids)] = 1
            found = self._session.run({"input_ids": ids, "attention_mask": mask, "token_type_ids": types})
            if found.shape != (len(batch), len(LABELS)):
                raise ProviderError(
                    f"expected logits of shape {(len(batch), len(LABELS))}, the graph gave {found.shape}"
                )
            logits[batch] = found
        return calibrated(logits, self._below, self._above, self._offset)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._encoding(text).ids
        return ids

    def _encoding(self, text: str) -> Encoding:
        """Tokenize; offsets are those of the text with its long words split."""
        try:
            return self._tokenizer.encode(split_long_words(text), add_special_tokens=False)
        except TypeError:
            raise InvalidInputError("text holds lone surrogates and is no valid Unicode") from None

    def _is_word(self, word: str) -> bool:
        return self._tokenizer.token_to_id(word) is not None

    def _special(self, name: str) -> int:
        number: int | None = self._tokenizer.token_to_id(name)
        if number is None:
            raise BundleError(f"the bundle's tokenizer has no {name} token")
        return number


def _open_first(bundle: Bundle, devices: Sequence[Device], threads: int | None) -> tuple[Device, Session]:
    """Open the graph of the first of `devices` that works; the last one's failure is raised."""
    for device in devices:
        graph = bundle.config.graphs.get(device)
        if graph is None and device is not devices[-1]:
            continue
        if graph is None:
            raise BundleError(
                f"bundle {bundle.path} has no graph for device {device.value!r}, it has some for "
                f"{', '.join(sorted(bundle.config.graphs))}: choose another device or bundle"
            )
        try:
            return device, open_session(bundle.read(graph), device, threads)
        except ProviderError:
            # A runtime built for GPUs on a machine without one.
            if device is devices[-1]:
                raise
    raise ProviderError("no device to run on")


def _read_tokenizer(bundle: Bundle) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(bundle.read("tokenizer.json").decode("utf-8"))
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(
            f"tokenizer.json of bundle {bundle.path} cannot be read: {type(error).__name__}"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # A user who writes "[SEP]" means five characters, not the separator.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _checked(prompts: Sequence[str], responses: Sequence[str] | None) -> list[tuple[str, str | None]]:
    if isinstance(prompts, str) or isinstance(responses, str):
        raise InvalidInputError("the classifier scores sequences of texts here: found one str")
    if responses is not None and len(responses) != len(prompts):
        raise InvalidInputError(
            f"expected one response per prompt, found {len(responses)} for {len(prompts)}"
        )
    for text in (*prompts, *(responses or ())):
        if not isinstance(text, str):
            raise InvalidInputError(f"the classifier scores text: expected str, found {type(text).__name__}")
    return list(zip(prompts, [None] * len(prompts) if responses is None else responses, strict=True))


def _reserved(context: list[int] | None) -> int:
    """Tokens of a window besides the text that is judged."""
    return 2 if context is None else 3 + len(context)


def _batches(windows: list[_Window], limit: int) -> list[list[int]]:
    """Group windows, by index and sorted by length, into batches of at most `limit` padded tokens."""
    batches: list[list[int]] = []
    for index in sorted(range(len(windows)), key=lambda index: len(windows[index].ids)):
        width = len(windows[index].ids)
        if not batches or (len(batches[-1]) + 1) * width > limit:
            batches.append([])
        batches[-1].append(index)
    return batches


def _deciding(probabilities: NDArray[np.float64], has_answer: bool) -> NDArray[np.float64]:
    """The score that decides about each window, float64 of shape (windows,)."""
    return probabilities[:, _ANSWER_HARMFUL] if has_answer else request_scores(probabilities)


def _scores(row: NDArray[np.float64], has_answer: bool, windows: int) -> Scores:
    def cumulative(start: int, end: int) -> list[float]:
        return [float(value) for value in np.minimum.accumulate(row[start:end])]

    one, two, three = cumulative(0, 3)
    answer: tuple[float, float, float, float] | None = None
    if has_answer:
        first, second, third, fourth = cumulative(13, 17)
        answer = (first, second, third, fourth)
    return Scores(
        request_harm=(one, two, three),
        principles=tuple(float(value) for value in row[3:12]),
        general_harm=float(row[12]),
        answer_harm=answer,
        windows=windows,
    )
