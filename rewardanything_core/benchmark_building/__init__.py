"""Building a benchmark of one's own domain: the consensus of a jury's rankings, checked by people on a sample."""

from rewardanything_core.benchmark_building.benchmark import BuiltBenchmark
from rewardanything_core.benchmark_building.building import BenchmarkBuilder, BuildOptions, build_benchmark
from rewardanything_core.benchmark_building.files import add_people, write_benchmark
from rewardanything_core.benchmark_building.lists import PromptRow, RankingTask
from rewardanything_core.benchmark_building.people import human_agreement
from rewardanything_core.benchmark_building.ranked import RankedList, RankingRules
from rewardanything_core.benchmark_building.sampling import ResponseFile, SampleOptions, sample_responses

__all__ = [
    "BenchmarkBuilder",
    "BuildOptions",
    "BuiltBenchmark",
    "PromptRow",
    "RankedList",
    "RankingRules",
    "RankingTask",
    "ResponseFile",
    "SampleOptions",
    "add_people",
    "build_benchmark",
    "human_agreement",
    "sample_responses",
    "write_benchmark",
]
