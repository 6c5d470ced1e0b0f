from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medguard import BundleError
from medguard.bundle import Bundle, default_bundle_path

Edit = Callable[[Callable[[dict[str, Any]], None]], Path]


def test_the_bundled_one_is_whole() -> None:
    bundle = Bundle(default_bundle_path())
    bundle.verify()
    assert bundle.config.id == default_bundle_path().name
    assert {"strict", "balanced", "permissive"} <= set(bundle.config.operating_points)


def test_stricter_points_have_lower_thresholds() -> None:
    points = Bundle(default_bundle_path()).config.operating_points
    for stage in ("prompt_threshold", "response_threshold"):
        thresholds = [getattr(points[name], stage) for name in ("strict", "balanced", "permissive")]
        assert thresholds == sorted(thresholds)


def test_digest_names_exactly_these_files(bundle_copy: Path, edit_config: Edit) -> None:
    before = Bundle(bundle_copy).digest
    assert before == Bundle(default_bundle_path()).digest
    edit_config(lambda config: config["files"]["tokenizer.json"].update(sha256="0" * 64))
    assert Bundle(bundle_copy).digest != before


def test_other_thresholds_make_another_bundle_and_another_record_does_not(
    bundle_copy: Path, edit_config: Edit
) -> None:
    before = Bundle(bundle_copy).config.digests
    edit_config(lambda config: config["training"].update(note="measured anew"))
    assert Bundle(bundle_copy).config.digests == before
    edit_config(lambda config: config["operating_points"]["balanced"].update(prompt_threshold=0.5))
    after = Bundle(bundle_copy).config.digests
    assert {name for name in before if before[name] != after[name]} == {"classifier.json"}


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no classifier bundle at"):
        Bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"\xff\xfe", b'{"id": "x"}', b"null"])
def test_invalid_configuration(bundle_copy: Path, content: bytes) -> None:
    (bundle_copy / "classifier.json").write_bytes(content)
    with pytest.raises(BundleError, match="not a valid bundle configuration"):
        Bundle(bundle_copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 1}, "schema_version 1 is not 2"),
        ({"labels": ["harm"]}, "labels differ"),
        ({"max_tokens": 64}, "leave no room"),
        ({"stride_tokens": 0}, "greater than or equal to 1"),
        ({"files": {}}, "no checksum for"),
        ({"operating_points": {}}, "'balanced' is missing"),
        ({"calibration": {"harm": {}}}, "calibration of unknown labels: harm"),
        ({"calibration": {"general_harm": {"above": -1.0}}}, "greater than 0"),
        ({"surprise": 1}, "Extra inputs"),
        ({"id": ""}, "at least 1 character"),
    ],
    ids=str,
)
def test_inconsistent_configuration(edit_config: Edit, change: dict[str, Any], message: str) -> None:
    path = edit_config(lambda config: config.update(change))
    with pytest.raises(BundleError, match=message):
        Bundle(path)


def test_truncated_file(bundle_copy: Path) -> None:
    graph = bundle_copy / "model.int8.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(BundleError, match="truncated or altered"):
        Bundle(bundle_copy).read("model.int8.onnx")


def test_altered_file(bundle_copy: Path) -> None:
    file = bundle_copy / "tokenizer.json"
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(BundleError, match=r"sha256 \w+, expected \w+"):
        Bundle(bundle_copy).read("tokenizer.json")


def test_missing_and_unknown_files(bundle_copy: Path) -> None:
    (bundle_copy / "model.int8.onnx").unlink()
    bundle = Bundle(bundle_copy)
    with pytest.raises(BundleError, match=r"cannot read model\.int8\.onnx"):
        bundle.verify()
    with pytest.raises(BundleError, match=r"has no file other\.onnx"):
        bundle.read("other.onnx")
