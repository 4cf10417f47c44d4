"""What pytest sees: options, fixtures and hooks. Every run loads it, so it imports nothing before that is needed."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rewardanything_core import BaseJudge
    from rewardanything_pytest.not_worse import AssertNotWorse
    from rewardanything_pytest.principle import AssertPrinciple
    from rewardanything_pytest.tally import Notes, Tally

NOTES: pytest.StashKey[Notes] = pytest.StashKey()
"""What a test judged since its last report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options, in a group of their own."""
    group = parser.getgroup("rewardanything", "judging under principles (rewardanything)")
    group.addoption(
        "--ra-update",
        action="store_true",
        help="Record what assert_not_worse is given as the new baselines instead of comparing with the old ones.",
    )
    group.addoption(
        "--ra-judge-failures",
        choices=("fail", "skip"),
        default="fail",
        help="What becomes of a test whose answers could not be judged. Never that it passes.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch what is judged, for the summary and the baselines."""
    config.pluginmanager.register(Watch(config), "rewardanything-watch")


@pytest.fixture(scope="session")
def judge() -> Iterator[BaseJudge]:
    """The judge of the session, from ra-judge.toml and RA_JUDGE_*. Define a fixture of this name to use another."""
    from rewardanything_core import load_judge

    with load_judge() as made:
        yield made


@pytest.fixture
def assert_principle(judge: BaseJudge, request: pytest.FixtureRequest) -> AssertPrinciple:
    """Assert that responses score at least ``min_score`` (1..5) under a principle."""
    from rewardanything_pytest.principle import AssertPrinciple

    return AssertPrinciple(request.node, lambda: judge)


@pytest.fixture
def assert_not_worse(request: pytest.FixtureRequest) -> AssertNotWorse:
    """Assert that responses are no worse than others, or than the recorded baseline, under a principle."""
    from rewardanything_pytest.not_worse import AssertNotWorse

    if not request.config.getoption("--ra-update"):  # recording needs no judge, and so no model
        request.getfixturevalue("judge")
    return AssertNotWorse(request.node, lambda: request.getfixturevalue("judge"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test's report carry its notes: reports also travel from the workers of pytest-xdist."""
    report = yield
    if notes := item.stash.get(NOTES, None):
        report.__dict__["rewardanything"] = notes.to_json()
        del item.stash[NOTES]
    return report


class Watch:
    """Follows a session. Under pytest-xdist the one on the controller hears everything; workers only tell."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker: dict[str, Any] | None = getattr(config, "workeroutput", None)
        self.tally: Tally | None = None
        self.not_passed: set[str] = set()
        self.collected: dict[str, dict[str, str]] = {}  # file of baselines -> node id -> test
        chosen = any("::" in argument for argument in config.args) or config.getoption("lf", default=False)
        self.whole = not (chosen or config.getoption("collectonly", default=False))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read may hold tests that use what seems unused."""
        self.whole &= not report.failed

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """So may tests that were not chosen."""
        self.whole &= not items

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the tests of files that have baselines."""
        if not any((folder / "__baselines__").is_dir() for folder in {item.path.parent for item in session.items}):
            return
        from rewardanything_pytest.baselines import baselines_of, key_of

        for item in session.items:
            self.collected.setdefault(str(baselines_of(item.path)), {})[item.nodeid] = key_of(item)
        if self.worker is not None:
            import json

            self.worker["rewardanything"] = json.dumps([self.collected, self.whole])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker collected."""
        import json

        collected, whole = json.loads(getattr(node, "workeroutput", {}).get("rewardanything", "[{}, true]"))
        self.collected.update(collected)
        self.whole &= whole

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test's notes up."""
        if self.worker is not None:
            return
        if report.outcome != "passed":
            self.not_passed.add(report.nodeid)
        if notes := getattr(report, "rewardanything", None):
            self._tally().add(report.nodeid, notes, failed=report.failed)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write baselines."""
        if self.worker is not None or (self.tally is None and not self.collected):
            return
        stopped = session.shouldstop or session.shouldfail or exitstatus not in (0, 1)
        update = self.config.getoption("--ra-update")
        collected = self.collected if self.whole and not stopped else {}
        self._tally().settle(collected, self.not_passed, update=update)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was judged, if anything was."""
        if self.tally is not None and (lines := list(self.tally.lines(self.config.rootpath))):
            terminalreporter.section("rewardanything")
            for text, alarming in lines:
                terminalreporter.write_line(text, yellow=alarming)

    def _tally(self) -> Tally:
        if self.tally is None:
            from rewardanything_pytest.tally import Tally

            self.tally = Tally()
        return self.tally
