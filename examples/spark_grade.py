"""Judge a table with Spark, on any number of model servers. A second run continues the first.

pip install '.[spark]'          # and a Java runtime
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
    """Grade the cases that are not graded yet, and count the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", help="a file or folder of Parquet")
    parser.add_argument("out", help="a folder")
    parser.add_argument("--principle", default="Concise before complete; never invent facts.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-base", action="append")
    parser.add_argument("--partitions", type=int, default=4, help="units of writing, and of judging again")
    arguments = parser.parse_args()

    spark = SparkSession.builder.getOrCreate()
    cases = spark.read.parquet(arguments.cases)
    if Path(arguments.out).exists():
        cases = cases.join(spark.read.parquet(arguments.out).select("id"), on="id", how="left_anti")
    spec = portable_spec({"model": arguments.model, "api_base": arguments.api_base})  # each Python worker loads it once
    principle = arguments.principle
    schema = StructType([*cases.schema, *spark.createDataFrame([], spark_columns()).schema])
    judged = cases.repartition(arguments.partitions).mapInPandas(
        lambda frames: judge_frames(frames, principle=principle, judge=spec, id_column="id"), schema
    )
    judged.write.mode("append").parquet(arguments.out)

    rows = spark.read.parquet(arguments.out)
    failed = rows.filter(col("error").isNotNull())
    print(f"{rows.count():,} rows in {arguments.out}, {failed.count():,} of them without a verdict")
    spark.stop()


if __name__ == "__main__":
    main()
