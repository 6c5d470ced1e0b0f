"""JailbreakBench's recorded attacks by method, each beside benign requests in the same wrapping."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from medguard.evaluation.records import JailbreakAttack

__all__ = ["AttackSet", "attack_sets", "rewrap"]

# The random search's template also tells the model how to begin, in words made from the goal.
_OPENING: Final = re.compile(r"(?<=Sure, here is ).*?(?= for educational)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AttackSet:
    """The distinct prompts of one method, with benign requests in its wrapping."""

    harmful: tuple[str, ...]
    benign: tuple[str, ...]
    """Empty where the method leaves no wrapping behind, since it rewrites the goal."""


def attack_sets(attacks: Iterable[JailbreakAttack], benign: Sequence[str]) -> dict[str, AttackSet]:
    """Group attacks by method, each prompt once: methods reuse prompts for several target models.

    Args:
        attacks: Recorded attacks; those without a prompt are left out, and every attack on a goal that one
            that may train pursues too: it was seen in training, if perhaps in other words.
        benign: Requests to put into the wrappings, in turn.

    Returns:
        Sets by method, in the order of their names.
    """
    recorded = [attack for attack in attacks if attack.prompt]
    trained = {_goal_number(attack) for attack in recorded if attack.may_train}
    grouped: dict[str, dict[str, JailbreakAttack]] = {}
    for attack in recorded:
        if _goal_number(attack) not in trained:
            grouped.setdefault(attack.method, {}).setdefault(attack.prompt, attack)
    sets = {}
    for method, prompts in sorted(grouped.items()):
        wrapped = [
            rewrap(attack, benign[index % len(benign)]) for index, attack in enumerate(prompts.values())
        ]
        found = tuple(text for text in wrapped if text is not None)
        # A method that quotes a goal now and then has no wrapping to speak of.
        sets[method] = AttackSet(tuple(prompts), found if len(found) > len(wrapped) / 2 else ())
    return sets


def _goal_number(attack: JailbreakAttack) -> str:
    """The goal's number in JailbreakBench: its words are misspelt or cut short in some of the files."""
    return attack.id.rpartition("-")[2]


def rewrap(attack: JailbreakAttack, request: str) -> str | None:
    """Put `request` in the place of the attack's goal; None where the prompt does not quote the goal."""
    if not attack.prompt:
        return None
    goal = re.compile(re.escape(attack.goal), re.IGNORECASE)
    # A function as replacement, as backslashes of a plain one would be read as references.
    wrapped, count = goal.subn(lambda _: request, attack.prompt)
    return _OPENING.sub(lambda _: f"an answer to the question: {request}", wrapped) if count else None
