"""Read CSV and JSON lines out of bytes, with errors that name file and line but quote no content."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medguard.errors import DataError

__all__ = ["csv_rows", "field", "json_lines", "json_lines_of", "text_of"]


def text_of(files: Mapping[str, bytes], path: str) -> str:
    """Return a file as text.

    Raises:
        DataError: The file is missing or no UTF-8.
    """
    try:
        return files[path].decode("utf-8-sig")
    except KeyError:
        raise DataError(f"the source has no file {path}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 at byte {error.start}") from None


def csv_rows(files: Mapping[str, bytes], path: str, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file with a heading.

    Raises:
        DataError: The file or one of `columns` is missing, or a row has too few cells.
    """
    reader = csv.DictReader(io.StringIO(text_of(files, path), newline=""))
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}")
    for row in reader:
        if any(row[name] is None for name in columns):
            raise DataError(f"{path}, line {reader.line_num}: too few cells")
        yield row


def json_lines(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines text; `name` is for errors.

    Raises:
        DataError: A line is no JSON object.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{name}, line {number}: no JSON ({error.msg})") from None
        if not isinstance(value, dict):
            raise DataError(f"{name}, line {number}: expected an object, found {type(value).__name__}")
        yield value


def json_lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines file.

    Raises:
        DataError: The file cannot be read, or a line is no JSON object.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    yield from json_lines(text_of({str(path): content}, str(path)), str(path))


def field(record: Mapping[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Return a field of the expected type.

    Raises:
        DataError: The field is missing or of another type.
    """
    value = record.get(name)
    if not isinstance(value, kind):
        expected = kind.__name__ if isinstance(kind, type) else " or ".join(item.__name__ for item in kind)
        raise DataError(f"{where}: field {name!r} should be {expected}, found {type(value).__name__}")
    return value
