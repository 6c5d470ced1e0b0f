"""What a process loads, and what it does without; each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
"""
HEAVY = ("torch", "transformers", "onnxruntime", "httpx", "langchain_core")
PURE = (
    "calibration",
    "decision",
    "policy",
    "windows",
    "long_words",
    "normalize",
    "verdict",
    "scores",
    "flow",
    "streaming",
    "holdback",
    "redaction",
    "steps",
    "errors",
    "principles",
    "presets",
    "refusals",
    "allowlist",
    "bundle",
    "deadline",
    "observe",
)


def run(code: str, *, without: tuple[str, ...] = ()) -> str:
    script = BLOCK.format(names=set(without)) + code
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded(code: str) -> str:
    return run(f"{code}\nprint(*sorted(name for name in {HEAVY!r} if name in sys.modules))")


def test_the_core_loads_no_runtime_and_no_framework() -> None:
    assert loaded("\n".join(f"import medguard.{name}" for name in PURE)) == ""


def test_medguard_itself_loads_no_runtime_and_no_framework() -> None:
    assert loaded("import medguard") == ""


def test_checker_loads_the_runtime_alone() -> None:
    code = "import medguard; assert medguard.Checker().check_prompt('hello').score is not None"
    assert loaded(code) == "onnxruntime"


@pytest.mark.parametrize(
    "code",
    [
        "import medguard; print(medguard.Checker().check_prompt('hello').score is not None)",
        "import medguard; print(medguard.MedGuard(str.upper)('hello').verdict.score is not None)",
    ],
    ids=["checker", "guard"],
)
def test_torch_and_transformers_are_not_needed(code: str) -> None:
    assert run(code, without=("torch", "transformers")) == "True"


def test_checker_does_without_langchain() -> None:
    code = "import medguard; print(medguard.Checker().check_prompt('hello').failed)"
    assert run(code, without=("langchain_core", "langsmith")) == "False"


def test_missing_runtime_names_the_extra() -> None:
    code = """
import medguard
try:
    medguard.Checker()
except medguard.ProviderError as error:
    print(error)
"""
    assert "medguard[cpu]" in run(code, without=("onnxruntime",))
