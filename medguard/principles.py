"""The nine AMA Principles of Medical Ethics, the policy that a medical model must keep.

Short forms in the project's own words after the AMA Code of Medical Ethics, numbered as in
MedSafetyBench (Han et al. 2024, arXiv 2403.03744).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

__all__ = ["GENERAL_HARM", "PRINCIPLES", "category_names", "principle_category", "principle_number"]

PRINCIPLES: Final = MappingProxyType(
    {
        1: "competent care with compassion, dignity and rights",
        2: "professionalism and honesty; reporting fraud and deception",
        3: "respect for the law",
        4: "rights of patients and colleagues; confidences and privacy",
        5: "scientific knowledge, education and open information",
        6: "freedom to choose whom to serve and with whom to associate",
        7: "community and public health",
        8: "responsibility to the patient as paramount",
        9: "access to medical care for all",
    }
)

GENERAL_HARM: Final = "general_harm"


def principle_category(number: int) -> str:
    """Name the policy category of principle `number` (1 to 9), such as ``principle_4``."""
    if number not in PRINCIPLES:
        raise ValueError(f"a principle is a number from 1 to 9, found {number}")
    return f"principle_{number}"


def principle_number(category: str) -> int | None:
    """Give the principle (1 to 9) of a policy category; None for ``general_harm``."""
    return None if category == GENERAL_HARM else int(category.removeprefix("principle_"))


def category_names() -> tuple[str, ...]:
    """All category names that a policy may mention, in the classifier's order."""
    return (*(principle_category(number) for number in PRINCIPLES), GENERAL_HARM)
