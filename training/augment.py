"""Show requests once more in other dress: inside frames, with noise, within long passages.

What is asked decides, not what stands around it: harmful and benign requests get the same dress, and keep
their targets and their group.
"""

from __future__ import annotations

import random
import string
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from medguard.evaluation import datasets
from medguard.evaluation.transforms import TRANSFORMS
from training.examples import DATA, OWN_PAIRS, Example, make_example
from training.targets import request_targets

__all__ = ["buried", "framed", "noisy"]

_PLAIN = (
    "medsafetybench",
    "contrast",
    "llama3",
    "contrast_llama3",
    "sensitive",
    *OWN_PAIRS,
    "general_contrast",
    "general_pairs",
    "general_more",
    "general_harm",
)
_NOISE_WORDS = (3, 30)
_FILLER_WORDS = (15, 90)
_REPETITIONS = (2, 30)


def framed(examples: Sequence[Example], count: int, frames: int, seed: int) -> Iterator[Example]:
    """Yield `count` plain requests, each inside one of the first `frames` of ``data/frames.toml``."""
    data = tomllib.loads((DATA / "frames.toml").read_text(encoding="utf-8"))
    texts = [frame["text"].strip() for frame in data["frames"][:frames]]
    draw = random.Random(f"framed:{seed}")
    for item in _drawn(examples, count, draw):
        prompt = draw.choice(texts).replace("{request}", item.prompt.strip())
        yield replace(item, id=f"{item.id}~framed", source="framed", prompt=prompt)


def noisy(examples: Sequence[Example], count: int, seed: int) -> Iterator[Example]:
    """Yield `count` plain requests: mistyped, among random words, without spaces, or said over and over."""
    draw = random.Random(f"noisy:{seed}")
    words = sorted({word for item in examples for word in item.prompt.split()})
    for number, item in enumerate(_drawn(examples, count, draw)):
        match number % 6:
            case 0 | 1:
                prompt = TRANSFORMS["typos"](item.prompt, draw.randrange(2**31))
            case 2:
                prompt = f"{_noise(words, draw)} {item.prompt}"
            case 3:
                prompt = f"{item.prompt} {_noise(words, draw)}"
            case 4:
                prompt = "".join(item.prompt.split())
            case _:
                prompt = " ".join([item.prompt.strip()] * draw.randint(*_REPETITIONS))
        yield replace(item, id=f"{item.id}~noisy", source="noisy", prompt=prompt)


def buried(examples: Sequence[Example], count: int, seed: int) -> Iterator[Example]:
    """Yield `count` windows of long documents: three of four with a request in them, the rest without."""
    draw = random.Random(f"buried:{seed}")
    passages = [item for item in datasets.medquad("train") if item.answer and len(item.answer.split()) > 60]
    benign = request_targets(0, violates=(), general=0.0)
    for number, item in enumerate(_drawn(examples, count, draw)):
        before, after = draw.sample(passages, 2)
        if number % 4 == 0:
            filler = f"{_excerpt(before.answer, draw)}\n\n{_excerpt(after.answer, draw)}"
            yield make_example(f"passage-{number}", "buried", before.document_id, filler, None, benign)
            continue
        parts = [_excerpt(before.answer, draw), item.prompt, _excerpt(after.answer, draw)]
        start, end = draw.choice([(0, 3), (0, 3), (1, 3), (0, 2)])
        prompt = "\n\n".join(parts[start:end])
        yield replace(item, id=f"{item.id}~buried", source="buried", prompt=prompt)


def _drawn(examples: Sequence[Example], count: int, draw: random.Random) -> list[Example]:
    """Draw plain requests, as many benign as harmful ones; borderline ones are left out."""
    plain = [item for item in examples if item.source in _PLAIN and item.response is None]
    harmful = [item for item in plain if item.targets[1] >= 0.5]
    benign = [item for item in plain if item.targets[0] == 0.0]
    if not harmful or not benign:
        return []
    return [draw.choice(benign if draw.random() < 0.5 else harmful) for _ in range(count)]


def _noise(words: Sequence[str], draw: random.Random) -> str:
    count = draw.randint(*_NOISE_WORDS)
    return " ".join(_noise_word(words, draw) for _ in range(count))


def _noise_word(words: Sequence[str], draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.5:
        return draw.choice(words)
    signs = string.punctuation if kind < 0.7 else string.ascii_letters + string.digits
    return "".join(draw.choices(signs, k=draw.randint(1, 3) if kind < 0.7 else draw.randint(3, 9)))


def _excerpt(text: str | None, draw: random.Random) -> str:
    words = (text or "").split()
    length = min(len(words), draw.randint(*_FILLER_WORDS))
    start = draw.randint(0, len(words) - length)
    return " ".join(words[start : start + length])
