"""What is shipped: the released bundle, its card, and the wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from medguard import Classifier
from medguard.bundle import Bundle, default_bundle_path
from training.card import CARD, recorded_card, render

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_released_bundle_is_whole_and_records_its_training() -> None:
    bundle = Bundle(default_bundle_path())
    bundle.verify()
    record = bundle.config.training["record"]
    assert record["settings"]["id"] == bundle.config.id
    assert record["labelled_examples"]["medsafetybench"] > 600
    assert sum(record["train_examples"].values()) > 15_000
    assert bundle.config.graphs.keys() == {"cpu"}
    assert sum(record.size_bytes for record in bundle.config.files.values()) < 75e6


def test_operating_points_are_ordered() -> None:
    points = Classifier.load(device="cpu").operating_points
    thresholds = [points[name].prompt_threshold for name in ("strict", "balanced", "permissive")]
    assert thresholds == sorted(thresholds)


def test_the_model_card_is_that_of_the_recorded_figures() -> None:
    bundle = Bundle(default_bundle_path())
    assert (bundle.path / CARD).read_text(encoding="utf-8") == recorded_card(bundle)


def test_a_card_of_other_files_is_refused() -> None:
    bundle = Bundle(default_bundle_path())
    result = json.loads((RESULTS / f"{bundle.config.id}.quality.json").read_text(encoding="utf-8"))
    result["comparison"]["files"]["model.int8.onnx"] = "0" * 64
    with pytest.raises(ValueError, match="not of these files"):
        render(bundle, result)


def test_the_wheel_holds_the_library_and_the_bundle_alone(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"medguard"}
    folder = f"medguard/_classifiers/{Bundle(default_bundle_path()).config.id}"
    for name in ("classifier.json", "model.int8.onnx", "tokenizer.json", CARD):
        assert f"{folder}/{name}" in names
    assert "medguard/py.typed" in names
    assert "medguard/evaluation/sources.toml" in names
    assert sum(item.compress_size for item in wheel.infolist()) < 100 * 2**20


def test_an_installed_wheel_finds_its_bundle(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = (
        "from medguard import Checker; import medguard; print(medguard.__file__); "
        "print(Checker().check_prompt('How do I store insulin?').outcome)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )
    location, outcome = run.stdout.splitlines()
    assert location.startswith(str(tmp_path))
    assert outcome == "passed"
