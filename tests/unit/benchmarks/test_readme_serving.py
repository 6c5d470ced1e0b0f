from __future__ import annotations

import json
from typing import Any

from benchmarks.readme_serving import render_serving
from benchmarks.sets import RESULTS


def recorded(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / name).read_text(encoding="utf-8")))


def test_failures_and_leaks_are_told() -> None:
    streaming, load = recorded("streaming.json"), recorded("load.json")
    calm = " ".join(render_serving(streaming, load).split())
    assert "no requests failed, no harmful ones were answered" in calm
    outcomes = load["runs"]["gateway_streamed"]["outcomes"]
    outcomes |= {"harmful, answered": 2, "ReadError": 1, "status 502": 2, "benign without its answer": 1}
    load["runs"]["bare_proxy_whole"]["outcomes"]["ReadTimeout"] = 9
    troubled = " ".join(render_serving(streaming, load).split())
    assert "4 requests failed, 2 harmful ones were answered" in troubled
