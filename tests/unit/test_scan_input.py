from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard import scan_input
from medguard.errors import DataError
from medguard.scan_input import BadLine, InputFormat, Record, read_records


def jsonl(*lines: bytes | dict[str, object]) -> list[Record | BadLine]:
    data = b"\n".join(json.dumps(line).encode() if isinstance(line, dict) else line for line in lines)
    return list(read_records(io.BytesIO(data), InputFormat.JSONL))


def from_csv(text: str | bytes) -> list[Record | BadLine]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_records(io.BytesIO(data), InputFormat.CSV))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
records = st.builds(
    Record,
    line=st.integers(1, 10**9),
    id=st.none() | st.integers() | texts,
    prompt=texts,
    response=st.none() | texts,
)


class TestReading:
    @given(st.lists(records, max_size=20))
    def test_written_records_are_read_back(self, given_records: list[Record]) -> None:
        lines = [{"id": item.id, "prompt": item.prompt, "response": item.response} for item in given_records]
        read = jsonl(*lines)
        assert [(item.id, item.prompt, item.response) for item in read if isinstance(item, Record)] == [
            (item.id, item.prompt, item.response) for item in given_records
        ]

    @given(st.binary(max_size=300))
    def test_any_bytes_give_one_item_per_line_that_is_not_trailing_blank(self, data: bytes) -> None:
        lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        while lines and not lines[-1].strip():
            lines.pop()
        read = list(read_records(io.BytesIO(data), InputFormat.JSONL))
        assert [item.line for item in read] == list(range(1, len(lines) + 1))

    def test_lines_are_read_lazily(self) -> None:
        stream = io.BytesIO(b'{"prompt": "hello"}\n' * 10_000)
        assert next(read_records(stream, InputFormat.JSONL)).line == 1
        assert stream.tell() == len(b'{"prompt": "hello"}\n')

    def test_a_huge_line_is_skipped_in_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scan_input, "MAX_LINE_BYTES", 50)
        asked: list[int] = []

        class Watched(io.BytesIO):
            def readline(self, size: int | None = -1) -> bytes:  # type: ignore[override]
                asked.append(-1 if size is None else size)
                return super().readline(size)

        stream = Watched(b'{"prompt": "' + b"a" * 500 + b'"}\n{"prompt": "hello"}\n')
        read = list(read_records(stream, InputFormat.JSONL))
        assert [type(item) for item in read] == [BadLine, Record]
        assert [item.line for item in read] == [1, 2]
        assert set(asked) == {51}

    @pytest.mark.parametrize("extra", [-1, 0, 1])
    def test_the_limit_is_exact(self, monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
        line = b'{"prompt": "aaaaaaaaaa"}'
        monkeypatch.setattr(scan_input, "MAX_LINE_BYTES", len(line) + 1 - extra)
        (first, second) = read_records(io.BytesIO(line + b"\n" + line), InputFormat.JSONL)
        assert isinstance(first, BadLine) == (extra > 0)
        assert (first.line, second.line) == (1, 2)


class TestJsonl:
    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"secret{", "not valid JSON (column 1)"),
            (b'{"prompt": "secret"', "not valid JSON (column 20)"),
            (b'["secret"]', "expected a JSON object, found an array"),
            (b'"secret"', "expected a JSON object, found a string"),
            (b"null", "expected a JSON object, found null"),
            (b'{"text": "secret"}', "no field 'prompt'"),
            (b'{"prompt": null}', "field 'prompt': expected a string, found null"),
            (b'{"prompt": ["secret"]}', "field 'prompt': expected a string, found an array"),
            (b'{"prompt": "a", "response": 5}', "field 'response': expected a string, found a number"),
            (b'{"prompt": "secret\xff"}', "not valid UTF-8"),
            (b'{"prompt": "secret\\u0000"}', "field 'prompt' holds a NUL character"),
            (b'{"prompt": "secret\x00"}', "not valid JSON (column 19)"),
            (
                b'{"prompt": "secret\\ud800"}',
                "field 'prompt' is not valid Unicode (undecodable bytes or a lone surrogate)",
            ),
            (b'{"prompt": "a", "prompt": "secret"}', "not valid JSON (a field occurs twice in one object)"),
            (b'{"prompt": "a", "id": NaN}', "not valid JSON (NaN is not JSON)"),
            (b'{"prompt": "a", "id": 1e999}', "field 'id' is not a finite number"),
            (b'{"prompt": "a", "id": true}', "field 'id': expected a string or a number, found a boolean"),
            (b"[" * 100_000, "not valid JSON (a number or nesting beyond limits)"),
            (b'{"prompt": ' + b"1" * 5000 + b"}", "not valid JSON (a number or nesting beyond limits)"),
        ],
    )
    def test_json(self, line: bytes, reason: str) -> None:
        bad, good = jsonl(line, {"prompt": "hello"})
        assert bad == BadLine(line=1, error=reason)
        assert good == Record(line=2, prompt="hello")

    def test_an_id_may_have_more_digits_than_a_float(self) -> None:
        number = 10**400
        (read,) = jsonl({"id": number, "prompt": "hello"})
        assert (type(read), read.id) == (Record, number)

    def test_the_id_survives_where_it_could_be_read(self) -> None:
        assert jsonl({"id": "a7", "prompt": 3})[0].id == "a7"

    def test_blank_lines_count_except_at_the_end(self) -> None:
        read = jsonl(b"", b"  ", {"prompt": "a"}, b"\r", {"prompt": "b"}, b"", b" ", b"")
        assert [(item.line, type(item)) for item in read] == [
            (1, BadLine),
            (2, BadLine),
            (3, Record),
            (4, BadLine),
            (5, Record),
        ]

    def test_a_byte_order_mark_and_windows_line_ends_are_tolerated(self) -> None:
        assert jsonl(b'\xef\xbb\xbf{"prompt": "a"}\r', b'{"prompt": "b"}\r') == [
            Record(line=1, prompt="a"),
            Record(line=2, prompt="b"),
        ]
        assert from_csv(b"\xef\xbb\xbfprompt\r\na\r\n") == [Record(line=2, prompt="a")]


class TestCsv:
    def test_multi_line_cells_and_the_last_line_of_the_row(self) -> None:
        read = from_csv('id,prompt,response\n1,"a\nb, ""c""",\n2,d,e\n')
        assert read == [
            Record(line=3, id="1", prompt='a\nb, "c"'),
            Record(line=4, id="2", prompt="d", response="e"),
        ]

    def test_columns_in_any_order_with_others_beside(self) -> None:
        assert from_csv("note,prompt,id\nx,hello,\n") == [Record(line=2, prompt="hello")]

    def test_a_row_with_the_wrong_columns_is_bad_alone(self) -> None:
        assert from_csv("id,prompt\n1,secret,x\n2\n3,b\n") == [
            BadLine(line=2, error="expected 2 columns, found 3"),
            BadLine(line=3, error="expected 2 columns, found 1"),
            Record(line=4, id="3", prompt="b"),
        ]

    def test_blank_rows_count_except_at_the_end(self) -> None:
        assert [item.line for item in from_csv("id,prompt\n\n1,a\n\n\n")] == [2, 3]

    @pytest.mark.parametrize("cell", [b"secret\xff", b"secret\0"])
    def test_undecodable_cells_are_bad_alone(self, cell: bytes) -> None:
        bad, good = from_csv(b"prompt\n" + cell + b"\nok\n")
        assert isinstance(bad, BadLine)
        assert "secret" not in bad.error
        assert good == Record(line=3, prompt="ok")

    @pytest.mark.parametrize("text", ["", "secret\n", "id,text\n", "prompt,prompt\n", "id,id,prompt\n"])
    def test_a_file_without_a_usable_header_is_fatal(self, text: str) -> None:
        with pytest.raises(DataError, match=r"^line 1: expected a CSV header") as caught:
            from_csv(text)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("rest", ['"secret"x\nb\n', '"secret\nb\n'])
    def test_broken_quoting_is_fatal_after_the_rows_before_it(self, rest: str) -> None:
        read = read_records(io.BytesIO(b"prompt\na\n" + rest.encode()), InputFormat.CSV)
        assert next(read) == Record(line=2, prompt="a")
        with pytest.raises(DataError, match=r"^line [34]: broken CSV quoting"):
            next(read)

    def test_a_cell_beyond_the_module_limit_is_read_and_the_limit_restored(self) -> None:
        before = csv.field_size_limit()
        (record,) = from_csv("prompt\n" + "a" * (before + 1) + "\n")
        assert isinstance(record, Record)
        assert len(record.prompt) == before + 1
        assert csv.field_size_limit() == before

    def test_an_unclosed_quote_does_not_swallow_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scan_input, "MAX_LINE_BYTES", 1000)
        stream = io.BytesIO(b'prompt\n"secret\n' + b"x\n" * 10_000)
        with pytest.raises(DataError, match="is a quote left open above it"):
            list(read_records(stream, InputFormat.CSV))
        assert stream.tell() < 1100


class TestLabels:
    def read(self, data: bytes, form: InputFormat = InputFormat.JSONL) -> list[Record | BadLine]:
        return list(read_records(io.BytesIO(data), form, labelled=True))

    def test_labels_are_read_where_asked_for(self) -> None:
        lines = [{"prompt": "a", "harmful": label} for label in (True, False, None)]
        read = self.read("\n".join(map(json.dumps, [*lines, {"prompt": "a"}])).encode())
        assert [item.harmful for item in read if isinstance(item, Record)] == [True, False, False, False]

    def test_cells_are_words(self) -> None:
        read = self.read(b"prompt,harmful\na,TRUE\na, false \na,\n", InputFormat.CSV)
        assert [item.harmful for item in read if isinstance(item, Record)] == [True, False, False]

    @pytest.mark.parametrize("label", ["secret", 1, [True]])
    def test_other_labels_make_a_bad_line(self, label: object) -> None:
        (bad,) = self.read(json.dumps({"id": 7, "prompt": "a", "harmful": label}).encode())
        assert isinstance(bad, BadLine)
        assert (bad.id, "secret" in bad.error) == (7, False)
        assert bad.error.startswith("field 'harmful': expected true or false, found a")
        (cell,) = self.read(f'prompt,harmful\na,"{label}"\n'.encode(), InputFormat.CSV)
        assert cell.line == 2
        assert isinstance(cell, BadLine)

    def test_two_columns_of_labels_are_fatal(self) -> None:
        with pytest.raises(DataError, match="'id', 'response' and 'harmful' at most once"):
            self.read(b"prompt,harmful,harmful\na,true,false\n", InputFormat.CSV)

    def test_labels_are_ignored_elsewhere(self) -> None:
        assert jsonl({"prompt": "a", "harmful": "maybe"}) == [Record(line=1, prompt="a")]
        assert from_csv("prompt,harmful,harmful\na,x,true\n") == [Record(line=2, prompt="a")]


@pytest.mark.parametrize("input_format", InputFormat)
def test_conversations_are_read_from_jsonl_alone_and_where_they_are_asked_for(
    input_format: InputFormat,
) -> None:
    talk = [{"role": "user", "content": "hello"}]
    line = (
        json.dumps({"messages": talk}) if input_format is InputFormat.JSONL else "prompt,messages\nhello,x\n"
    )

    def read(*, conversations: bool) -> Record | BadLine:
        stream = io.BytesIO(line.encode())
        return next(read_records(stream, input_format, conversations=conversations))

    if input_format is InputFormat.CSV:
        assert read(conversations=True) == read(conversations=False) == Record(line=2, prompt="hello")
    else:
        assert read(conversations=True) == Record(line=1, prompt="", messages=talk)
        assert read(conversations=False) == BadLine(line=1, error="no field 'prompt'")
