"""Building a benchmark of one's own domain: the consensus of a jury's rankings, checked by people on a sample."""

from rewardanything_core.benchmark_building.benchmark import BuiltBenchmark
from rewardanything_core.benchmark_building.building import BenchmarkBuilder, BuildOptions, build_benchmark
from rewardanything_core.benchmark_building.files import add_people, write_benchmark
from rewardanything_core.benchmark_building.lists import PromptRow
from rewardanything_core.benchmark_building.ranked import RankedList

__all__ = [
    "BenchmarkBuilder",
    "BuildOptions",
    "BuiltBenchmark",
    "PromptRow",
    "RankedList",
    "add_people",
    "build_benchmark",
    "write_benchmark",
]
