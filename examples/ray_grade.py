"""Judge a dataset of any size with Ray, over as many model servers as there are; run it again and it goes on.

pip install 'rewardanything-core[ray,endpoint]'
python examples/ray_grade.py cases.parquet judged --model hosted_vllm/WisdomShell/RewardAnything-8B-v1 \
    --api-base http://gpu-1:8000/v1 --api-base http://gpu-2:8000/v1 --workers 4

The cases have the columns id, prompt and responses. Without --api-base the model runs in the workers; add --gpus 1.
"""

import argparse

import ray

from rewardanything_ray import grade_dataset


def main() -> None:
    """Grade what is not graded yet, and count what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", help="a file or folder of Parquet")
    parser.add_argument("out", help="a folder")
    parser.add_argument("--principle", default="Concise before complete; never invent facts.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-base", action="append")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gpus", type=float, default=0, help="for each worker")
    chosen = parser.parse_args()

    ray.init()  # on a cluster, RAY_ADDRESS says where it is
    judged = grade_dataset(
        ray.data.read_parquet(chosen.cases),
        principle=chosen.principle,
        judge={"model": chosen.model, "api_base": chosen.api_base},
        id_column="id",
        concurrency=chosen.workers,
        num_cpus=0.1 if chosen.api_base else 1,  # clients mostly wait
        num_gpus=chosen.gpus,
        done=chosen.out,
    )
    judged.write_parquet(chosen.out, min_rows_per_file=4096)

    rows = ray.data.read_parquet(chosen.out, columns=["error"])
    failed = rows.filter(lambda row: row["error"] is not None)
    print(f"{rows.count():,} rows in {chosen.out}, {failed.count():,} of them without a verdict")


if __name__ == "__main__":
    main()
