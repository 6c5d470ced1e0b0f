"""The benchmark of latency, for a round: what it times, never how long it took."""

from __future__ import annotations

from benchmarks.latency import measure
from medguard.bundle import default_bundle_path
from tests.upstream import requires_upstream


@requires_upstream()
def test_each_kind_of_request_is_timed_and_benign_ones_are_settled_earlier() -> None:
    found = measure(default_bundle_path(), rounds=1)
    assert set(found["kinds"]) == {"patient_questions", "hard_benign", "harmful"}
    for kind in found["kinds"].values():
        assert all(value > 0 for value in kind["mean_ms"].values())
    settled = {name: kind["settled_early"] for name, kind in found["kinds"].items()}
    assert settled["harmful"] < settled["hard_benign"]
