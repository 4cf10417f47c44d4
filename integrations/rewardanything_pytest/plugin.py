"""Options, fixtures and hooks. Every pytest run loads this module, so it imports everything else when it is needed."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rewardanything_core import BaseJudge
    from rewardanything_pytest.not_worse import AssertNotWorse
    from rewardanything_pytest.principle import AssertPrinciple
    from rewardanything_pytest.tally import Tally


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, in a group of their own."""
    group = parser.getgroup("rewardanything", "judging under principles (rewardanything)")
    group.addoption(
        "--ra-update",
        action="store_true",
        help="Record the responses given to assert_not_worse as the new baselines instead of comparing with them.",
    )
    group.addoption(
        "--ra-judge-failures",
        choices=("fail", "skip"),
        default="fail",
        help="Whether a test whose responses could not be judged fails or is skipped. It never passes.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin that follows the session."""
    config.pluginmanager.register(SessionMonitor(config), "rewardanything-monitor")


@pytest.fixture(scope="session")
def judge() -> Iterator[BaseJudge]:
    """The judge of the session, from ra-judge.toml and RA_JUDGE_*.

    Define a fixture of this name that returns a judge or a model string to use another.
    """
    from rewardanything_core import load_judge

    with load_judge() as loaded:
        yield loaded


@pytest.fixture
def assert_principle(judge: BaseJudge | str, request: pytest.FixtureRequest) -> AssertPrinciple:
    """Assert that responses score at least ``min_score`` (1..5) under a principle."""
    from rewardanything_pytest.principle import AssertPrinciple

    return AssertPrinciple(request.node, lambda: _resolved(judge))


@pytest.fixture
def assert_not_worse(request: pytest.FixtureRequest) -> AssertNotWorse:
    """Assert that responses are no worse than others, or than the recorded baseline, under a principle."""
    from rewardanything_pytest.not_worse import AssertNotWorse

    if not request.config.getoption("--ra-update"):  # recording needs no judge, and therefore no model
        request.getfixturevalue("judge")
    return AssertNotWorse(request.node, lambda: _resolved(request.getfixturevalue("judge")))


def _resolved(judge: BaseJudge | str) -> BaseJudge:
    from rewardanything_core import default_judge, resolve_judge

    return resolve_judge(judge) or default_judge()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach a test's notes to its report: with pytest-xdist, workers send reports to the controller."""
    report = yield
    tally = sys.modules.get("rewardanything_pytest.tally")  # not imported if no test has judged anything
    if tally is not None and (notes := item.stash.get(tally.NOTES, None)):
        report.__dict__["rewardanything"] = notes.to_json()
        del item.stash[tally.NOTES]
    return report


class SessionMonitor:
    """Collects the notes of all tests. With pytest-xdist, the controller collects and workers report to it.

    Args:
        config: The configuration of the session.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker_output: dict[str, Any] | None = getattr(config, "workeroutput", None)
        self.tally: Tally | None = None
        self.not_passed: set[str] = set()
        self.collected: dict[str, dict[str, str]] = {}  # baseline file -> node id -> test
        selected = any("::" in argument for argument in config.args) or config.getoption("lf", default=False)
        self.complete = not (selected or config.getoption("collectonly", default=False))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected may have tests that use a seemingly unused baseline."""
        self.complete &= not report.failed

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Deselected tests may use a seemingly unused baseline."""
        self.complete &= not items

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Record the tests of folders with baseline files."""
        if not any((folder / "__baselines__").is_dir() for folder in {item.path.parent for item in session.items}):
            return
        from rewardanything_pytest.baselines import baseline_file, test_key

        for item in session.items:
            self.collected.setdefault(str(baseline_file(item.path)), {})[item.nodeid] = test_key(item)
        if self.worker_output is not None:
            import json

            self.worker_output["rewardanything"] = json.dumps([self.collected, self.complete])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Merge the tests that a worker collected."""
        import json

        collected, complete = json.loads(getattr(node, "workeroutput", {}).get("rewardanything", "[{}, true]"))
        self.collected.update(collected)
        self.complete &= complete

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test's notes to the tally."""
        if self.worker_output is not None:
            return
        if report.outcome != "passed":
            self.not_passed.add(report.nodeid)
        if notes := getattr(report, "rewardanything", None):
            self._tally().add(report.nodeid, notes, failed=report.failed)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the recorded baselines.

        Args:
            session: The session.
            exitstatus: 0 or 1 if all selected tests ran.
        """
        if self.worker_output is not None or (self.tally is None and not self.collected):
            return
        stopped = session.shouldstop or session.shouldfail or exitstatus not in (0, 1)
        collected = self.collected if self.complete and not stopped else {}
        self._tally().write_baselines(collected, self.not_passed, update=self.config.getoption("--ra-update"))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary, if anything was judged or written."""
        if self.tally is not None and (lines := list(self.tally.summary(self.config.rootpath))):
            terminalreporter.section("rewardanything")
            for text, highlighted in lines:
                terminalreporter.write_line(text, yellow=highlighted)

    def _tally(self) -> Tally:
        if self.tally is None:
            from rewardanything_pytest.tally import Tally

            self.tally = Tally()
        return self.tally
