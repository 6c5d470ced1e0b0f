"""JSON as it is read and sent, and the text inside it. Pure.

What is passed on is always written anew from what was read and checked, never the bytes that came: a second
key of the same name, for one, would be read by one side and not by the other.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn, TypeAlias

from medguard.escapes import without_escapes

__all__ = [
    "GAP",
    "Path",
    "decoded_text_of",
    "encode",
    "has_encoded_media",
    "read_object",
    "replaced",
    "text_of",
    "texts_in",
    "without_key",
]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a value inside JSON."""

GAP: Final = "\n\n"

# What these hold is a name as long as it looks like one; the words of a model do not.
_LABELS: Final = frozenset(
    {"id", "type", "role", "object", "status", "model", "index", "finish_reason", "native_finish_reason"}
    | {"call_id", "tool_call_id", "item_id", "system_fingerprint", "service_tier", "phase", "format"}
)
_LABEL: Final = re.compile(r"[\w.:/@+-]{1,128}", re.ASCII)
_MEDIA_KEYS: Final = frozenset({"data", "b64_json", "result", "encrypted_content"})
_ENCODED: Final = re.compile(r"(?:data:[\w./+-]+;base64,)?[A-Za-z0-9+/_-]{32,}={0,2}", re.ASCII)


def read_object(data: bytes | str) -> dict[str, Any]:
    """Read a JSON object strictly: UTF-8, finite numbers, no deeper than can be walked.

    Raises:
        ValueError: It is none; the message quotes nothing of it.
    """
    try:
        value = json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except ValueError:
        raise ValueError("this is no valid JSON") from None
    if not isinstance(value, dict):
        raise ValueError("the JSON is not an object")  # noqa: TRY004 - about the content, not an argument
    return value


def encode(value: Any) -> bytes:
    """Write JSON in ASCII, so that whatever was read can be written."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def texts_in(
    value: Any, *, labels: frozenset[str] | None = _LABELS, path: Path = ()
) -> Iterator[tuple[Path, str]]:
    """Find the texts inside JSON with their places, in order: every string but labels and encoded media.

    Args:
        value: What to look through.
        labels: Keys whose value is left out where it looks like a name; None: any key.
        path: The place of `value`.
    """
    if isinstance(value, str):
        key = path[-1] if path else ""
        is_label = (labels is None or key in labels) and _LABEL.fullmatch(value) is not None
        if value and not is_label and not _is_media(key, value):
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            if len(key.split()) > 1:
                yield (*path, key), key
            yield from texts_in(item, labels=labels, path=(*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts_in(item, labels=labels, path=(*path, index))


def text_of(value: Any, *, labels: frozenset[str] | None = _LABELS) -> str:
    """Join the texts inside JSON."""
    return GAP.join(text for _, text in texts_in(value, labels=labels))


def decoded_text_of(value: Any, *, labels: frozenset[str] | None = _LABELS) -> str:
    """Join the texts inside an answer; JSON among them, such as arguments of tools, is read."""
    texts = (text for _, text in texts_in(value, labels=labels))
    return GAP.join(said for text in texts for said in without_escapes(text))


def has_encoded_media(value: Any) -> bool:
    """Whether JSON holds encoded media, which `texts_in` leaves out."""
    if isinstance(value, dict):
        return any(
            _is_media(key, item) if isinstance(item, str) else has_encoded_media(item)
            for key, item in value.items()
        )
    return isinstance(value, list) and any(has_encoded_media(item) for item in value)


def replaced(value: Any, path: Path, new: Any) -> Any:
    """Return JSON with `new` at `path`; what is not on the way there is shared."""
    if not path:
        return new
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        return [replaced(item, rest, new) if index == first else item for index, item in enumerate(value)]
    return {key: replaced(item, rest, new) if key == first else item for key, item in value.items()}


def without_key(value: Any, name: str) -> Any:
    """Return JSON without any value under the key `name`."""
    if isinstance(value, dict):
        return {key: without_key(item, name) for key, item in value.items() if key != name}
    return [without_key(item, name) for item in value] if isinstance(value, list) else value


def _is_media(key: str | int, value: str) -> bool:
    return key in _MEDIA_KEYS and _ENCODED.fullmatch(value) is not None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number
