"""Encode examples and put them into batches of like length, in an order fixed by the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from medguard.bundle import SpecialTokens
from medguard.windows import fit_context
from training.config import WindowConfig
from training.examples import Example

__all__ = ["Batch", "Encoded", "collate", "encode", "epoch_order"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one example, built as the runtime builds a window."""

    ids: list[int]
    types: list[int]
    targets: tuple[float, ...]
    mask: tuple[float, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of one step: (batch, tokens) for the encoder, (batch, labels) for the loss, (batch,) each."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    token_type_ids: torch.Tensor
    targets: torch.Tensor
    label_mask: torch.Tensor
    weights: torch.Tensor


def encode(
    examples: Sequence[Example], tokenizer: Tokenizer, windows: WindowConfig, special: SpecialTokens
) -> list[Encoded]:
    """Encode each example to one window; of text longer than a window, the first window."""
    cls, sep = tokenizer.token_to_id(special.start), tokenizer.token_to_id(special.separator)
    encoded = []
    for example in examples:
        prompt = tokenizer.encode(example.prompt, add_special_tokens=False).ids
        if example.response is None:
            part = prompt[: windows.max_tokens - 2]
            ids, types = [cls, *part, sep], [0] * (len(part) + 2)
        else:
            context = fit_context(prompt, windows.context_tokens)
            answer = tokenizer.encode(example.response, add_special_tokens=False).ids
            part = answer[: windows.max_tokens - 3 - len(context)]
            ids = [cls, *context, sep, *part, sep]
            types = [0] * (len(context) + 2) + [1] * (len(part) + 1)
        encoded.append(Encoded(ids, types, example.targets, example.mask, example.weight))
    return encoded


def epoch_order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Shuffle, sort pools of 50 batches by length, cut into batches, shuffle the batches."""
    shuffler = random.Random(f"{seed}:{epoch}")
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    batches = []
    pool = batch_size * 50
    for start in range(0, len(order), pool):
        block = sorted(order[start : start + pool], key=lambda index: lengths[index])
        batches.extend(block[at : at + batch_size] for at in range(0, len(block), batch_size))
    shuffler.shuffle(batches)
    return batches


def collate(items: Sequence[Encoded], padding_id: int, device: torch.device) -> Batch:
    """Pad `items` to the longest with the encoder's padding token."""
    width = max(len(item.ids) for item in items)

    def padded(rows: list[list[int]], value: int = 0) -> torch.Tensor:
        return torch.tensor([row + [value] * (width - len(row)) for row in rows], device=device)

    return Batch(
        input_ids=padded([item.ids for item in items], padding_id),
        attention_mask=padded([[1] * len(item.ids) for item in items]),
        token_type_ids=padded([item.types for item in items]),
        targets=torch.tensor([item.targets for item in items], device=device),
        label_mask=torch.tensor([item.mask for item in items], device=device),
        weights=torch.tensor([item.weight for item in items], device=device),
    )
