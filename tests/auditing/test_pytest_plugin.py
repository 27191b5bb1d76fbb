"""The plugin, in a pytest of its own: rules become tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from test_gate import FOUND


def pytest_on(
    folder: Path, policy: str, *more: str, unmatched: int = 0
) -> subprocess.CompletedProcess[str]:
    found = {**FOUND, "basis": {**FOUND["basis"], "unmatched": unmatched}}
    (folder / "audit.json").write_text(json.dumps(found))
    (folder / "policy.yaml").write_text(policy)
    options = ["--audit", "audit.json", "--audit-policy", "policy.yaml", "-q", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", "-p", "fairsparse.pytest_plugin", "-rA"]
    return subprocess.run(
        [*command, *(more or options)], cwd=folder, capture_output=True, text=True, timeout=300
    )


def test_rules_are_tests(tmp_path: Path) -> None:
    done = pytest_on(
        tmp_path,
        "rules:\n- churn <= 1\n- churn < 0\n"
        "- {rule: behind < 0, exempt: {until: 2999-01-01, reason: a plan}}\n",
    )
    assert done.returncode == 1
    assert "1 failed, 1 passed, 1 xfailed" in done.stdout
    assert "broken: churn < 0" in done.stdout
    assert "a plan" in done.stdout


def test_bad_input_is_a_usage_error(tmp_path: Path) -> None:
    done = pytest_on(tmp_path, "rules: [chrun <= 1]")
    assert done.returncode == 4
    assert "unknown finding 'chrun'" in done.stderr
    done = pytest_on(tmp_path, "", "--audit", "audit.json")
    assert done.returncode == 4
    assert "give --audit and --audit-policy together" in done.stderr


def test_what_a_gate_refuses_by_default_fails_here_too(tmp_path: Path) -> None:
    options = ["--audit", ".", "--audit-policy", "policy.yaml", "-q", "-p", "no:xdist"]
    done = pytest_on(tmp_path, "rules: [churn <= 1]", *options, unmatched=3)
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "broken: unmatched <= 0, by default (candidate: 3)" in done.stdout
