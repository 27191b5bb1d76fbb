"""A pytest plugin: every rule of a policy is a test of an audit.

    pytest -p fairsparse.pytest_plugin --audit audit --audit-policy policy.yaml

A rule that is kept passes, a broken one fails, one that is exempt is an expected failure. A rule
that holds by default, where the policy has none on the same, is a test where it is broken.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from fairsparse.auditing.document import read_document
from fairsparse.auditing.gate import Judgement, judge, read_policy
from fairsparse.core import InputError
from fairsparse.neutral import neutral


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two files as options."""
    group = parser.getgroup("fairsparse")
    group.addoption("--audit", metavar="PATH", help="an audit, to hold against a policy")
    group.addoption("--audit-policy", metavar="FILE", help="its rules, each a test")


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add a test for each rule and candidate."""
    audit, policy = config.getoption("--audit"), config.getoption("--audit-policy")
    if (audit is None) != (policy is None):
        raise pytest.UsageError("give --audit and --audit-policy together")
    if audit is None:
        return
    try:
        verdicts = judge(read_document(audit), read_policy(policy), datetime.date.today())
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    for verdict in verdicts:
        name = neutral(f"{verdict.rule.text} [{verdict.candidate}]")
        items.append(RuleItem.from_parent(session, name=name, verdict=verdict, file=Path(policy)))


class RuleItem(pytest.Item):
    """One rule on one candidate."""

    def __init__(self, *, verdict: Judgement, file: Path, **more: Any) -> None:
        super().__init__(**more)
        self.verdict, self.file = verdict, file

    def runtest(self) -> None:
        """Fail where the rule is broken."""
        if self.verdict.status == "exempt":
            pytest.xfail(neutral(str(self.verdict)))
        if self.verdict.status == "broken":
            pytest.fail(neutral(str(self.verdict)), pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the rule stands."""
        return self.file, max(self.verdict.rule.line - 1, 0), self.name
