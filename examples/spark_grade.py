"""Judge a table with Spark, over as many model servers as there are; run it again and it goes on.

pip install 'rewardanything-core[spark,endpoint]'          # and a Java runtime
python examples/spark_grade.py cases.parquet judged --model hosted_vllm/WisdomShell/RewardAnything-8B-v1 \
    --api-base http://gpu-1:8000/v1 --api-base http://gpu-2:8000/v1

The cases have the columns id, prompt and responses.
"""

import argparse
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.functions import col
from pyspark.sql.types import StructType

from rewardanything_core.tables import judge_frames, portable_spec, spark_columns


def main() -> None:
    """Grade what is not graded yet, and count what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", help="a file or folder of Parquet")
    parser.add_argument("out", help="a folder")
    parser.add_argument("--principle", default="Concise before complete; never invent facts.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-base", action="append")
    parser.add_argument("--partitions", type=int, default=4, help="what is written, and judged again if lost, in one")
    chosen = parser.parse_args()

    spark = SparkSession.builder.getOrCreate()
    cases = spark.read.parquet(chosen.cases)
    if Path(chosen.out).exists():
        cases = cases.join(spark.read.parquet(chosen.out).select("id"), on="id", how="left_anti")
    spec = portable_spec({"model": chosen.model, "api_base": chosen.api_base})  # each Python worker loads it once
    principle = chosen.principle
    schema = StructType([*cases.schema, *spark.createDataFrame([], spark_columns()).schema])
    judged = cases.repartition(chosen.partitions).mapInPandas(
        lambda frames: judge_frames(frames, principle=principle, judge=spec, id_column="id"), schema
    )
    judged.write.mode("append").parquet(chosen.out)

    rows = spark.read.parquet(chosen.out)
    failed = rows.filter(col("error").isNotNull())
    print(f"{rows.count():,} rows in {chosen.out}, {failed.count():,} of them without a verdict")
    spark.stop()


if __name__ == "__main__":
    main()
