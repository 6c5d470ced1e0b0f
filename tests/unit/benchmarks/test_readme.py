"""Figures stand together in the README only where they are of the same things."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme
from benchmarks.shared import provenance
from medguard.bundle import Bundle, default_bundle_path

OF_DATA = ("quality", "latency", "throughput", "peers")
WITH_INTERVALS = ("quality", "peers", "models-replayed", "models-answered", "models-guards")
ALL = (*OF_DATA, *WITH_INTERVALS[2:], "streaming", "load")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def bundle() -> Bundle:
    return Bundle(default_bundle_path())


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> Path:
    """A copy of what is recorded, as if all of it had been measured just now."""
    copied = Path(shutil.copytree(readme.RESULTS, tmp_path / "results"))
    monkeypatch.setattr(readme, "RESULTS", copied)
    now = provenance(bundle.config)
    for kind in ALL:
        change(copied, bundle, kind, lambda key: key.update(now))
    return copied


def change(results: Path, bundle: Bundle, kind: str, edit: Change) -> None:
    """Edit the comparison key of a record."""
    own = f"{bundle.config.id}.{kind}.json"
    file = results / (own if (results / own).is_file() else f"{kind}.json")
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    edit(record.setdefault("comparison", {}))
    file.write_text(json.dumps(record), encoding="utf-8")


def test_figures_of_other_evaluation_data_do_not_stand_together(results: Path, bundle: Bundle) -> None:
    for kind in OF_DATA:
        change(results, bundle, kind, lambda key: key.update(data={"contrast_eval.jsonl": "0"}))
    assert readme.recorded(bundle)
    change(results, bundle, "peers", lambda key: key.update(data={"contrast_eval.jsonl": "1"}))
    with pytest.raises(ValueError, match=r"^peers: of other evaluation data"):
        readme.recorded(bundle)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("edit", [lambda key: key.update(files={}), lambda key: key.pop("files")])
def test_figures_of_another_bundle_are_refused(
    results: Path, bundle: Bundle, kind: str, edit: Change
) -> None:
    change(results, bundle, kind, edit)
    with pytest.raises(ValueError, match=rf"^{kind}: of other or unknown files of the bundle"):
        readme.recorded(bundle)


def test_figures_of_one_other_bundle_are_refused_all_together(results: Path, bundle: Bundle) -> None:
    for kind in ALL:
        change(results, bundle, kind, lambda key: key.update(files={"model.int8.onnx": "0"}))
    with pytest.raises(ValueError, match="of other or unknown files of the bundle"):
        readme.recorded(bundle)


@pytest.mark.parametrize("kind", WITH_INTERVALS)
@pytest.mark.parametrize("edit", [lambda key: key.update(figures="0"), lambda key: key.pop("figures")])
def test_intervals_of_other_code_are_refused(results: Path, bundle: Bundle, kind: str, edit: Change) -> None:
    change(results, bundle, kind, edit)
    with pytest.raises(ValueError, match=rf"^{kind}: of figures that are computed otherwise now"):
        readme.recorded(bundle)


@pytest.mark.parametrize("kind", ALL)
def test_a_record_that_does_not_tell_its_code_is_refused(results: Path, bundle: Bundle, kind: str) -> None:
    change(results, bundle, kind, lambda key: key.pop("code"))
    with pytest.raises(ValueError, match=rf"^{kind}: of unknown code"):
        readme.recorded(bundle)


def test_the_code_of_each_record_is_told(results: Path, bundle: Bundle) -> None:
    code = provenance(bundle.config)["code"]
    assert f"the library's code `{code}` (see" in readme.recorded(bundle)
    for kind in ("latency", "load"):
        change(results, bundle, kind, lambda key: key.update(code="older"))
    told = readme.recorded(bundle)
    assert "`older` (latency, load)" in told
    assert f"`{code}` (quality, throughput, peers, models-replayed," in told
