"""Judging the rows of tables: pandas and Arrow batches, Ray, Spark."""
