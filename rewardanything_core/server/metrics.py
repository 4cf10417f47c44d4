"""Prometheus metrics. Each server has its own registry; nothing is registered for the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from rewardanything_core.types import Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters and gauges of one server.

    Args:
        usage: Returns the usage of the judge's model so far. None while no judge is loaded.
        pending: Returns the number of cases accepted and not yet judged.
        ready: Returns whether the judge is loaded.
    """

    def __init__(
        self, *, usage: Callable[[], Usage | None], pending: Callable[[], int], ready: Callable[[], bool]
    ) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("ra_judge_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.request_seconds = Histogram(
            "ra_judge_request_seconds",
            "Seconds from a request to the end of its answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.cases = Counter(
            "ra_judge_cases",
            "Cases by outcome: verdict, stored (a verdict from the store), or the type of the error.",
            ["outcome"],
            registry=registry,
        )
        self.questions = Counter(
            "ra_judge_questions",
            "Typed questions by outcome: answered, refused, or the type of the error.",
            ["outcome"],
            registry=registry,
        )
        self.case_seconds = Histogram(
            "ra_judge_case_seconds", "Seconds to judge a case.", buckets=_BUCKETS, registry=registry
        )
        Gauge(
            "ra_judge_pending_cases", "Cases and typed questions accepted and not yet answered.", registry=registry
        ).set_function(pending)
        Gauge("ra_judge_ready", "1 once the judge is loaded.", registry=registry).set_function(lambda: float(ready()))
        registry.register(_UsageCollector(usage))
        ProcessCollector(registry=registry)

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _UsageCollector(Collector):
    def __init__(self, usage: Callable[[], Usage | None]) -> None:
        self._usage = usage

    def collect(self) -> Iterator[Metric]:
        usage = self._usage() or Usage()
        yield CounterMetricFamily("ra_judge_model_calls", "Completions requested from the model.", value=usage.calls)
        yield CounterMetricFamily("ra_judge_prompt_tokens", "Prompt tokens processed.", value=usage.prompt_tokens)
        yield CounterMetricFamily("ra_judge_completion_tokens", "Tokens generated.", value=usage.completion_tokens)
