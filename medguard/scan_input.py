"""From the bytes of a JSONL or CSV file to records, one line at a time, whatever the lines hold.

A line that cannot be read becomes a `BadLine`, so that none is lost without a trace. Reasons name line,
field and type, and never quote the text.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, Final, TypeAlias

from medguard.errors import DataError

__all__ = ["BadLine", "InputFormat", "Record", "RecordId", "read_records", "text_error"]

MAX_LINE_BYTES: Final = 16 * 2**20
"""Longest line (in CSV: row, over all its lines) that is read into memory."""

_TOO_LONG: Final = f"longer than {MAX_LINE_BYTES // 2**20} MiB"
_BLANK: Final = "the line is blank"
_BOM: Final = b"\xef\xbb\xbf"

RecordId: TypeAlias = "str | int | float | None"


class InputFormat(StrEnum):
    """What an input file holds."""

    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A request to judge, with the answer to it where there is one."""

    line: int
    """Line of the file, from 1; of a CSV row over several lines, the last."""
    id: RecordId = None
    """The caller's own name for the record; None where it gave none."""
    prompt: str
    """Empty where the request is a conversation."""
    messages: Any = None
    """A conversation in place of the prompt, as the file has it; None where none is given or asked for."""
    response: str | None = None
    """The answer; None where only the request is to be judged."""
    harmful: bool = False
    """What the file says of the record; False where it says nothing, or labels are not read."""

    @property
    def length_chars(self) -> int:
        """Characters held in memory for this record."""
        return len(self.prompt) + len(self.response or "") + len(str(self.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that holds no record."""

    line: int
    error: str
    """Why, without a word of the line itself."""
    id: RecordId = None
    """The record's name where at least that could be read."""

    @property
    def length_chars(self) -> int:
        """Characters held in memory for this line."""
        return len(str(self.id))


@dataclass(frozen=True, slots=True)
class _Fields:
    """Which fields are read beside ``id``, ``prompt`` and ``response``."""

    labelled: bool
    conversations: bool = False


def read_records(
    stream: BinaryIO, input_format: InputFormat, *, labelled: bool = False, conversations: bool = False
) -> Iterator[Record | BadLine]:
    """Read records lazily; nothing but the current line is held.

    Blank lines are bad lines, except at the end of the file. A byte order mark is skipped.

    Args:
        stream: A binary stream, UTF-8 inside.
        input_format: JSONL (an object with ``prompt`` and optionally ``id`` and ``response`` per line) or
            CSV with a header of these names; other fields are ignored.
        labelled: Read the field ``harmful`` too (true or false, optional), instead of ignoring it.
        conversations: Read the field ``messages`` of JSONL in place of ``prompt``, instead of ignoring it.

    Raises:
        DataError: A CSV file has no usable header, or its quoting is broken, so that where the next row
            begins is anyone's guess.
    """
    if input_format is InputFormat.CSV:
        return _drop_trailing_blanks(_read_csv(stream, labelled))
    return _drop_trailing_blanks(_read_jsonl(stream, _Fields(labelled, conversations)))


def _physical_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Number the lines; one over the limit is skipped in pieces and given as None."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        whole = len(line) <= MAX_LINE_BYTES
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES + 1)
        if not whole:
            yield number, None
        else:
            yield number, line.removeprefix(_BOM) if number == 1 else line


def _drop_trailing_blanks(items: Iterable[Record | BadLine]) -> Iterator[Record | BadLine]:
    """Pass blank lines on only once something follows them; holds their count, not the lines."""
    first_blank = 0
    for item in items:
        if isinstance(item, BadLine) and item.error == _BLANK:
            first_blank = first_blank or item.line
            last_blank = item.line
            continue
        if first_blank:
            yield from (BadLine(line=line, error=_BLANK) for line in range(first_blank, last_blank + 1))
            first_blank = 0
        yield item


def _read_jsonl(stream: BinaryIO, fields: _Fields) -> Iterator[Record | BadLine]:
    for number, line in _physical_lines(stream):
        if line is None:
            yield BadLine(line=number, error=_TOO_LONG)
        elif not line.strip():
            yield BadLine(line=number, error=_BLANK)
        else:
            yield _parse_json(number, line, fields)


def _parse_json(number: int, line: bytes, fields: _Fields) -> Record | BadLine:
    try:
        value = json.loads(
            line.decode("utf-8").rstrip("\r\n"),
            object_pairs_hook=_unique_fields,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        return BadLine(line=number, error="not valid UTF-8")
    except json.JSONDecodeError as error:
        return BadLine(line=number, error=f"not valid JSON (column {error.colno})")
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _RefusedJsonError) else "a number or nesting beyond limits"
        return BadLine(line=number, error=f"not valid JSON ({reason})")
    if not isinstance(value, dict):
        return BadLine(line=number, error=f"expected a JSON object, found {_json_type(value)}")
    return _record(number, value, fields)


class _RefusedJsonError(ValueError):
    """JSON that parsers read in different ways."""


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Which of two equal fields counts differs between parsers: the one judged must be the one used.
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _RefusedJsonError("a field occurs twice in one object")
    return fields


def _refuse_constant(name: str) -> None:
    raise _RefusedJsonError(f"{name} is not JSON")


class _CsvLines:
    """Feeds lines to the CSV reader and stops a row that never ends (an unclosed quote)."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = _physical_lines(stream)
        self._row_bytes = 0

    def start_row(self) -> None:
        self._row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        self._row_bytes += 0 if line is None else len(line)
        if line is None or self._row_bytes > MAX_LINE_BYTES:
            raise DataError(f"line {number}: the CSV row is {_TOO_LONG}; is a quote left open above it?")
        # Undecodable bytes become lone surrogates here, which `_record` reports for this row alone.
        return line.decode("utf-8", errors="surrogateescape")


def _read_csv(stream: BinaryIO, labelled: bool) -> Iterator[Record | BadLine]:
    lines = _CsvLines(stream)
    # The module's limit of 128 Ki characters a field is global: lifted while this file is read.
    limit = csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(lines, strict=True)
    try:
        header = _header(next(reader, []), labelled)
        lines.start_row()
        for row in reader:
            lines.start_row()
            yield _parse_row(reader.line_num, header, row, labelled)
    except csv.Error as error:
        raise DataError(
            f"line {reader.line_num}: broken CSV quoting, so that where the next row begins cannot be known"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _header(names: list[str], labelled: bool) -> list[str]:
    """Check the column names, without quoting them: a file without a header begins with a user's text."""
    header = [name.strip() for name in names]
    optional = ("id", "response", "harmful") if labelled else ("id", "response")
    if header.count("prompt") != 1 or any(header.count(name) > 1 for name in optional):
        quoted = [f"'{name}'" for name in optional]
        raise DataError(
            "line 1: expected a CSV header with the column 'prompt', and "
            f"{', '.join(quoted[:-1])} and {quoted[-1]} at most once"
        )
    return header


def _parse_row(number: int, header: list[str], row: list[str], labelled: bool) -> Record | BadLine:
    if not row:
        return BadLine(line=number, error=_BLANK)
    if len(row) != len(header):
        return BadLine(line=number, error=f"expected {len(header)} columns, found {len(row)}")
    values: dict[str, Any] = dict(zip(header, row, strict=True))
    # CSV has no null: an empty cell stands for it.
    values.update({name: values.get(name) or None for name in ("id", "response", "harmful")})
    # Nor has it booleans; spreadsheets write TRUE and FALSE.
    word = (values["harmful"] or "").strip().lower()
    values["harmful"] = {"true": True, "false": False}.get(word, values["harmful"])
    return _record(number, values, _Fields(labelled))


def _record(number: int, values: dict[str, Any], fields: _Fields) -> Record | BadLine:
    name, response = values.get("id"), values.get("response")
    prompt: Any = values.get("prompt")
    messages = values.get("messages") if fields.conversations else None
    if error := _id_error(name):
        return BadLine(line=number, error=error)
    if messages is not None:
        if "prompt" in values:
            error = "expected a field 'prompt' or a field 'messages', found both"
            return BadLine(line=number, id=name, error=error)
        prompt = ""
    elif "prompt" not in values:
        return BadLine(line=number, id=name, error="no field 'prompt'")
    for field, value in (("prompt", prompt), ("response", response)):
        if error := None if field == "response" and value is None else text_error(field, value):
            return BadLine(line=number, id=name, error=error)
    harmful = values.get("harmful") if fields.labelled else None
    if not isinstance(harmful, bool | None):
        found = _json_type(harmful)
        return BadLine(line=number, id=name, error=f"field 'harmful': expected true or false, found {found}")
    return Record(
        line=number, id=name, prompt=prompt, messages=messages, response=response, harmful=bool(harmful)
    )


def _id_error(value: Any) -> str | None:
    if isinstance(value, str):
        return text_error("id", value)
    if isinstance(value, float) and not math.isfinite(value):
        return "field 'id' is not a finite number"
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return None
    return f"field 'id': expected a string or a number, found {_json_type(value)}"


def text_error(field: str, value: Any) -> str | None:
    """Say why the value of a field is no text to judge, without quoting it; None where it is."""
    if not isinstance(value, str):
        return f"field {field!r}: expected a string, found {_json_type(value)}"
    if "\0" in value:
        return f"field {field!r} holds a NUL character"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"field {field!r} is not valid Unicode (undecodable bytes or a lone surrogate)"
    return None


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
