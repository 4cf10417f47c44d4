"""Judging the rows of tables: pandas and Arrow batches, Ray, Spark."""

from rewardanything_core.tables.frames import TableOptions, judge_frames, judge_tables, spark_columns
from rewardanything_core.tables.portable_judges import portable_spec

__all__ = ["TableOptions", "judge_frames", "judge_tables", "portable_spec", "spark_columns"]
