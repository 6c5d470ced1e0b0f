"""The gateway's page in headless Chromium, driven by a page around it that types, clicks and reads."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from medguard import Checker, Policy
from medguard.principles import PRINCIPLES
from medguard.serve.metrics import PrometheusObserver
from medguard.testing import KeywordScorer

PAGE = files("medguard.serve").joinpath("page.html").read_text(encoding="utf-8")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium to open the page in: apt-get install chromium"
)

# Does what a person does, then leaves what it found as JSON in its own document.
DRIVER = """<!doctype html><meta charset="utf-8"><pre id="found"></pre>
<iframe id="frame" src="/" style="width: 360px; height: 740px"></iframe>
<script>
const task = TASK;
const pause = () => new Promise((go) => setTimeout(go, 50));
async function until(condition) {
  for (let turn = 0; turn < 200 && !condition(); turn++) await pause();
}
async function main() {
  const frame = document.getElementById("frame");
  await until(() => frame.contentDocument?.getElementById("form"));
  const page = frame.contentDocument, $ = (id) => page.getElementById(id);
  await until(() => $("counters").rows.length || $("counters-state").textContent.startsWith("No "));
  if (task.token) $("token").value = task.token;
  $("prompt").value = task.prompt;
  $("response").value = task.response;
  $("check").click();
  await until(() => $("results").children.length || !$("problem").hidden);
  if (task.counted) await until(() => $("counters-state").textContent.startsWith(task.counted));
  const text = (item) => item.textContent;
  document.getElementById("found").textContent = JSON.stringify({
    sections: [...$("results").children].map((section) => ({
      stage: section.dataset.stage,
      title: text(section.querySelector("h2")),
      decision: text(section.querySelector(".decision")),
      lines: [...section.querySelectorAll("p")].map(text),
      bars: [...section.querySelectorAll("meter")].map((meter) => ({
        label: text(meter.labels[0]),
        value: meter.value,
        worst: Boolean(meter.closest(".worst")),
      })),
      window: section.querySelector("mark")?.textContent ?? null,
    })),
    problem: $("problem").hidden ? null : text($("problem")),
    summary: text($("summary")),
    counters: [...$("counters").rows].map((row) => [...row.cells].map(text)),
    state: text($("counters-state")),
    markup: [...page.querySelectorAll("main img, main b")].length,
    unlabelled: [...page.querySelectorAll("textarea, input, meter")].filter((it) => !it.labels.length).length,
    ran: Boolean(frame.contentWindow.ran || window.ran),
    overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    ready: !$("check").disabled,
  });
}
main();
</script>"""


class Gateway(ThreadingHTTPServer):
    """The page's two routes over a real checker, and the driver."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.metrics = PrometheusObserver()
        self.policy: dict[str, Any] = {}
        self.task: dict[str, Any] = {}
        self.token: str | None = None
        self.down = False

    def check(self, prompt: str, response: str | None) -> dict[str, Any]:
        checker = Checker(
            policy=Policy(**self.policy), classifier=KeywordScorer(["arsenic"]), observers=[self.metrics]
        )
        verdicts = {
            "prompt": checker.check_prompt(prompt),
            "response": None if response is None else checker.check_response(response, prompt=prompt),
        }
        window = None
        for text, verdict in zip((prompt, response), verdicts.values(), strict=True):
            if text is not None and verdict is not None and verdict.tripped:
                start = max(0, text.index("arsenic") - 10)
                window = {"start": start, "end": len(text), "text": text[start:]}
        self.metrics.count_request("/medguard/check", 200)
        return {name: item and item.to_dict() for name, item in verdicts.items()} | {"window": window}


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        if self.path == "/medguard/stats":
            self.answer_json(self.server.metrics.stats)
        elif self.path == "/drive":
            self.answer(200, "text/html", DRIVER.replace("TASK", json.dumps(self.server.task)))
        elif self.path == "/":
            self.answer(200, "text/html", PAGE)
        else:
            self.answer(404, "text/plain", "")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert set(body) == {"prompt", "response"}
        self.answer_json(lambda: self.server.check(body["prompt"], body["response"]))

    def answer_json(self, make: Any) -> None:
        if self.server.down:
            self.close_connection = True
        elif self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self.answer(401, "application/json", '{"error": {"message": "a token is needed"}}')
        else:
            self.answer(200, "application/json", json.dumps(make()))

    def answer(self, status: int, kind: str, body: str) -> None:
        content = body.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def drive(gateway: Gateway, profile: Path, prompt: str, response: str = "", **task: Any) -> dict[str, Any]:
    gateway.task = {"prompt": prompt, "response": response, **task}
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={profile}",
        "--virtual-time-budget=30000",
        "--dump-dom",
        f"http://127.0.0.1:{gateway.server_port}/drive",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    assert found[1], f"the page did not get that far: {done.stderr[-2000:]}"
    return dict(json.loads(html.unescape(found[1])))


def test_the_page_is_whole_and_needs_no_network() -> None:
    assert re.findall(r"https?://|//cdn|@import|url\(", PAGE) == []
    assert re.findall(r"<script [^>]*src|<link [^>]*stylesheet|<img|<iframe", PAGE) == []
    assert "default-src 'none'; connect-src 'self'" in PAGE


def test_texts_reach_the_page_as_text_alone() -> None:
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", PAGE) == []
    assert re.findall(r"localStorage|sessionStorage|document\.cookie|location\.", PAGE) == []


def test_the_page_names_the_principles_as_the_library_does() -> None:
    (listed,) = re.findall(r"const PRINCIPLES = \[(.*?)\];", PAGE, re.DOTALL)
    assert re.findall(r'"(.*?)"', listed) == list(PRINCIPLES.values())


@needs_browser
def test_a_blocked_request_and_an_allowed_answer(gateway: Gateway, tmp_path: Path) -> None:
    text = "Which dose of arsenic <img src=x onerror='window.ran = parent.ran = 1'> <b>kills</b>?"
    found = drive(gateway, tmp_path, text, "Please call a doctor.", counted="1 requests answered")
    request, answer = found["sections"]
    assert (request["stage"], request["title"], request["decision"]) == ("prompt", "Request", "Blocked")
    assert f"At stake: principle 8, {PRINCIPLES[8]}" in request["lines"]
    assert "At or above the threshold of 0.500 (operating point balanced)" in request["lines"]
    assert [bar["label"] for bar in request["bars"]] == [
        "Harmful request",
        *(f"{number}. {name}" for number, name in PRINCIPLES.items()),
        "General harm",
    ]
    assert [bar["value"] for bar in request["bars"]] == [1, *(float(n == 8) for n in range(1, 10)), 0]
    assert [index for index, bar in enumerate(request["bars"]) if bar["worst"]] == [8]
    assert request["window"] == text[text.index("arsenic") - 10 :]
    assert any(re.fullmatch(r"Judged in \d+\.\d ms by keywords", line) for line in request["lines"])
    assert (answer["title"], answer["decision"], answer["window"]) == ("Answer", "Allowed", None)
    assert "Harmfulness of the answer, from 1 to 5: 1.0" in answer["lines"]
    assert found["summary"] == "Request: Blocked. Answer: Allowed."
    assert found["counters"] == [
        ["", "Allowed", "Blocked", "Redacted", "Annotated", "Shadow"],
        ["Requests", "0", "1", "0", "0", "0"],
        ["Answers", "1", "0", "0", "0", "0"],
    ]
    assert (found["markup"], found["ran"]) == (0, False)
    assert (found["problem"], found["ready"]) == (None, True)


@needs_browser
def test_the_window_stands_with_the_text_that_holds_it(gateway: Gateway, tmp_path: Path) -> None:
    gateway.policy = {"action": "shadow"}
    found = drive(gateway, tmp_path, "What helps?", "Take a spoon of arsenic.")
    request, answer = found["sections"]
    assert (request["window"], answer["window"]) == (None, " spoon of arsenic.")
    assert answer["decision"] == "Let through, only recorded (shadow)"


@needs_browser
def test_what_was_not_judged_is_said_to_be_so(gateway: Gateway, tmp_path: Path) -> None:
    gateway.policy = {"max_chars": 20, "allow_patterns": ["thank you"]}
    found = drive(gateway, tmp_path, "thank you", "x" * 21)
    request, answer = found["sections"]
    assert (request["decision"], request["bars"]) == ("Allowed: not judged, by policy", [])
    assert (answer["decision"], answer["bars"]) == ("Blocked: the guard could not judge it", [])
    assert any(line.startswith("InputTooLargeError: ") for line in answer["lines"])


@needs_browser
def test_the_page_fits_a_phone_and_labels_every_control(gateway: Gateway, tmp_path: Path) -> None:
    found = drive(gateway, tmp_path, "arsenic" + "x" * 300, "arsenic")
    assert len(found["sections"]) == 2
    assert (found["overflow"], found["unlabelled"]) == (0, 0)


@needs_browser
def test_a_gateway_that_is_down_is_told(gateway: Gateway, tmp_path: Path) -> None:
    gateway.down = True
    found = drive(gateway, tmp_path, "water")
    assert (found["sections"], found["ready"]) == ([], True)
    assert found["problem"] == "The gateway cannot be reached."
    assert found["state"] == "No counters. The gateway cannot be reached."


@needs_browser
def test_a_token_is_asked_for_and_sent(gateway: Gateway, tmp_path: Path) -> None:
    gateway.token = "open"  # noqa: S105 - made for this test
    refused = drive(gateway, tmp_path, "water")
    assert (refused["sections"], refused["problem"]) == ([], "The gateway answered 401: a token is needed")
    (section,) = drive(gateway, tmp_path, "water", token="open")["sections"]  # noqa: S106
    assert section["decision"] == "Allowed"
