"""The loaders on small made files, so that they are tested where no upstream data is at hand."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import openpyxl
import pytest

from medguard.errors import DataError
from medguard.evaluation import datasets

BEHAVIOURS = "data/behavior_datasets"


def test_med_safety_bench_keeps_splits_apart() -> None:
    heading = ",harmful_medical_request,safe_response\n"
    files = {
        "datasets/train/gpt4/med_safety_demonstrations_category_3.csv": (
            heading + '0,"Ask, with a comma","No,\nand a second line"\n1, Ask two ,\n'
        ).encode(),
        "datasets/test/llama2/med_safety_demonstrations_category_9.csv": (heading + "0,Test,No\n").encode(),
    }
    first, second = datasets.med_safety_bench("train", files=files)
    assert (first.id, first.author, first.principle) == ("msb-train-gpt4-c3-000", "gpt4", 3)
    assert first.prompt == "Ask, with a comma"
    assert first.safe_response == "No,\nand a second line"
    assert (second.prompt, second.safe_response) == ("Ask two", None)
    assert [item.id for item in datasets.med_safety_bench("test", files=files)] == ["msb-test-llama2-c9-000"]


def test_a_renamed_column_is_named() -> None:
    path = "datasets/train/gpt4/med_safety_demonstrations_category_3.csv"
    with pytest.raises(DataError, match="lacks the columns harmful_medical_request"):
        list(datasets.med_safety_bench("train", files={path: b",request,safe_response\n0,a,b\n"}))


def test_a_short_row_is_named_by_its_line() -> None:
    path = "datasets/train/gpt4/med_safety_demonstrations_category_3.csv"
    content = b",harmful_medical_request,safe_response\n0,a,b\n1,a\n"
    with pytest.raises(DataError, match="line 3: too few cells"):
        list(datasets.med_safety_bench("train", files={path: content}))


def test_med_harm_llama3_numbers_lines() -> None:
    files = {"datasets/med_harm_llama3/category_2.txt": b"One.\n\nThree.\n"}
    assert [(item.id, item.prompt) for item in datasets.med_harm_llama3(files=files)] == [
        ("msb-llama3-c2-00000", "One."),
        ("msb-llama3-c2-00002", "Three."),
    ]


def test_medquad_parts_whole_documents() -> None:
    def document(number: int) -> bytes:
        return (
            f'<Document id="{number}"><QAPairs><QAPair pid="1"><Question>What is\n {number} ?</Question>'
            '<Answer>An answer.</Answer></QAPair><QAPair pid="2"><Question>And?</Question><Answer/></QAPair>'
            "</QAPairs></Document>"
        ).encode()

    files = {f"1_Some_QA/{number:07d}.xml": document(number) for number in range(50)}
    train, kept = (list(datasets.medquad(split, files=files)) for split in ("train", "evaluation"))
    assert len(train) + len(kept) == 100
    assert {item.document_id for item in train}.isdisjoint(item.document_id for item in kept)
    assert kept
    first = train[0]
    assert first.question == f"What is {int(first.document_id.split('-')[-1])} ?"
    assert [item.answer for item in train[:2]] == ["An answer.", None]


def test_medquad_that_is_no_xml() -> None:
    with pytest.raises(DataError, match="is no XML"):
        list(datasets.medquad("train", files={"1_Some_QA/1.xml": b"<Document>"}))


def test_medication_qa_lists_a_question_once() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (("Question", "Focus", "Answer"), ("Why?", "x", "A"), ("why?", "x", "B"), (None, "x", "C")):
        sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    files = {"MedInfo2019-QA-Medications.xlsx": buffer.getvalue()}
    assert [(item.question, item.answer) for item in datasets.medication_qa(files=files)] == [("Why?", "A")]


def test_medication_qa_that_is_no_workbook() -> None:
    with pytest.raises(DataError, match="not the expected workbook"):
        list(datasets.medication_qa(files={"MedInfo2019-QA-Medications.xlsx": b"PK broken"}))


def test_pubmed_qa() -> None:
    record = {"QUESTION": "Q?", "CONTEXTS": ["a", "b"], "LONG_ANSWER": "L", "final_decision": "maybe"}
    files = {
        "data/ori_pqal.json": json.dumps({"11": record, "12": record}).encode(),
        "data/test_ground_truth.json": b'{"12": "maybe"}',
    }
    first, second = datasets.pubmed_qa(files=files)
    assert (first.decision, first.contexts, first.is_test) == ("maybe", ("a", "b"), False)
    assert second.is_test
    files["data/ori_pqal.json"] = b'{"11": {}}'
    with pytest.raises(DataError, match="not as expected"):
        list(datasets.pubmed_qa(files=files))


def test_harmbench_puts_context_before_the_behaviour() -> None:
    heading = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
    files = {
        f"{BEHAVIOURS}/harmbench_behaviors_text_val.csv": (
            heading + "Do it,standard,x,,,plain\nDo that,contextual,x,,Some context,with_context\n"
        ).encode()
    }
    plain, contextual = datasets.harmbench("val", files=files)
    assert (plain.id, plain.prompt, plain.topic) == ("harmbench-val-plain", "Do it", "standard")
    assert contextual.prompt == "Some context\n\n---\n\nDo that"


def test_general_lists_are_numbered_as_the_twins_refer_to_them() -> None:
    files = {
        f"{BEHAVIOURS}/extra_behavior_datasets/advbench_behaviors.csv": b"Behavior,Category\nOne,\nTwo,\n",
        f"{BEHAVIOURS}/malicious_instruct.txt": b"First?\nSecond?\n",
        f"{BEHAVIOURS}/strongreject_dataset.csv": b"category,source,forbidden_prompt\nFraud,x,Three\n",
    }
    assert [item.id for item in datasets.advbench(files=files)] == ["adv-000", "adv-001"]
    assert [item.prompt for item in datasets.malicious_instruct(files=files)] == ["First?", "Second?"]
    assert [item.topic for item in datasets.strongreject(files=files)] == ["Fraud"]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"no file .*advbench_behaviors\.csv"):
        list(datasets.advbench(files={}))


def test_jailbreakbench() -> None:
    attack = {
        "index": 7,
        "goal": "G",
        "category": "Fraud",
        "prompt": None,
        "response": None,
        "jailbroken": False,
    }
    path = "attack-artifacts/PAIR/black_box/vicuna-13b-v1.5.json"
    (item,) = datasets.jailbreakbench(files={path: json.dumps({"jailbreaks": [attack]}).encode()})
    assert (item.id, item.method, item.target_model) == (
        "jbb-PAIR-vicuna-13b-v1.5-7",
        "PAIR",
        "vicuna-13b-v1.5",
    )
    assert item.prompt is None
    with pytest.raises(DataError, match="not as expected"):
        list(datasets.jailbreakbench(files={path: b'{"jailbreaks": [{}]}'}))


def test_xstest_and_its_completions_share_ids() -> None:
    files = {
        "xstest_prompts.csv": b"id,prompt,type,label,focus,note\n1,How?,homonyms,safe,,\n2,How?,x,unsafe,,\n",
        "model_completions/xstest_v2_completions_gpt4.csv": (
            b"id,type,prompt,completion,annotation_1,annotation_2,agreement,final_label\n"
            b"v2-1,homonyms,How?,So.,a,a,TRUE,1_full_compliance\n"
        ),
    }
    assert [(item.id, item.is_safe) for item in datasets.xstest(files=files)] == [
        ("xstest-1", True),
        ("xstest-2", False),
    ]
    (completion,) = datasets.xstest_completions(files=files)
    assert (completion.id, completion.model, completion.label) == ("xstest-1", "gpt4", "1_full_compliance")


def test_hh_rlhf_parts_turns() -> None:
    record = {
        "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: Because.\n\nTruly.",
        "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: No.",
    }
    files = {"harmless-base/test.jsonl.gz": gzip.compress(json.dumps(record).encode())}
    (item,) = datasets.hh_rlhf(files=files)
    assert item.turns == (("human", "Hi"), ("assistant", "Hello"), ("human", "Why?"))
    assert (item.chosen, item.rejected) == ("Because.\n\nTruly.", "No.")
    with pytest.raises(DataError, match="cannot read"):
        list(datasets.hh_rlhf(files={"harmless-base/test.jsonl.gz": b"\x1f\x8b broken"}))


def test_self_instruct_reads_both_files() -> None:
    line = b'{"id": "t0", "instruction": " Do ", "instances": [{"input": "", "output": "Done"}]}\n'
    files = {"data/seed_tasks.jsonl": line, "human_eval/user_oriented_instructions.jsonl": line}
    assert [(item.instruction, item.output) for item in datasets.self_instruct(files=files)] == [
        ("Do", "Done"),
        ("Do", "Done"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: no JSON"),
        ("[]", r"line 2: expected an object, found list"),
        ('{"id": 3, "prompt": "x"}', r"record 2: id: Input should be a valid string"),
        ('{"id": "x"}', r"record 2: prompt: Field required"),
    ],
)
def test_own_files_name_the_bad_line_and_quote_nothing(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"id": "a", "prompt": "private text"}\n' + line + "\n")
    with pytest.raises(DataError, match=message) as caught:
        list(datasets.requests(path))
    assert "private" not in str(caught.value)


def test_own_file_that_is_missing_or_no_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        list(datasets.requests(tmp_path / "absent.jsonl"))
    (tmp_path / "latin1.jsonl").write_bytes(b'{"id": "\xe9"}')
    with pytest.raises(DataError, match="no UTF-8 at byte 8"):
        list(datasets.requests(tmp_path / "latin1.jsonl"))
