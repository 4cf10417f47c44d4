"""Judge a dataset of any size with Ray, on any number of model servers. A second run continues the first.

pip install '.[ray]'
python examples/ray_grade.py cases.parquet judged --model hosted_vllm/WisdomShell/RewardAnything-8B-v1 \
    --api-base http://gpu-1:8000/v1 --api-base http://gpu-2:8000/v1 --workers 4

The cases have the columns id, prompt and responses. Without --api-base the model runs in the workers: add --gpus 1.
"""

import argparse

import ray

from rewardanything_ray import grade_dataset


def main() -> None:
    """Grade the cases that are not graded yet, and count the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", help="a file or folder of Parquet")
    parser.add_argument("out", help="a folder")
    parser.add_argument("--principle", default="Concise before complete; never invent facts.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-base", action="append")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gpus", type=float, default=0, help="for each worker")
    arguments = parser.parse_args()

    ray.init()  # on a cluster, set RAY_ADDRESS
    judged = grade_dataset(
        ray.data.read_parquet(arguments.cases),
        principle=arguments.principle,
        judge={"model": arguments.model, "api_base": arguments.api_base},
        id_column="id",
        concurrency=arguments.workers,
        num_cpus=0.1 if arguments.api_base else 1,  # clients mostly wait
        num_gpus=arguments.gpus,
        done=arguments.out,
    )
    judged.write_parquet(arguments.out, min_rows_per_file=4096)

    rows = ray.data.read_parquet(arguments.out, columns=["error"])
    failed = rows.filter(lambda row: row["error"] is not None)
    print(f"{rows.count():,} rows in {arguments.out}, {failed.count():,} of them without a verdict")


if __name__ == "__main__":
    main()
