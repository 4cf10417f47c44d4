"""Judging a Ray dataset of any size: the same judge on many machines, one row out for each row in.

>>> from rewardanything_ray import grade_dataset
>>> judged = grade_dataset(ds, principle="Prefer the shorter answer.", judge={"model": ..., "api_base": ...})
>>> judged.write_parquet("judged")
"""

from importlib.util import find_spec

from rewardanything_core import MissingExtraError

if find_spec("ray") is None:
    raise MissingExtraError("Judging a Ray dataset", extra="ray")

from rewardanything_ray.grading import grade_dataset

__all__ = ["grade_dataset"]
