"""Run RecTools's SASRec on a split that it is given; called by benchmarks/parity.py in RecTools's environment.

    python run_rectools.py FOLDER

FOLDER/job.json holds the settings, the seed, `epochs` and optionally `check_every`; FOLDER/{train,known,test}.csv
are interactions (user_id, item_id, datetime): what to learn from, what is known when asked, whom to ask.
Writes FOLDER/lists.npz (`users`, `items` (n_users, k), ids as text, best first) and prints one JSON object: versions,
seconds of fitting (by the clock and of processors), parameters, RecTools's own figures.
"""

import json
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pytorch_lightning  # noqa: E402
import torch  # noqa: E402
from rectools import Columns  # noqa: E402
from rectools.dataset import Dataset  # noqa: E402
from rectools.metrics import MRR, NDCG, HitRate, calc_metrics  # noqa: E402
from rectools.models import SASRecModel  # noqa: E402


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    job = json.loads((folder / "job.json").read_text())
    train, known_events, test = (read(folder / f"{name}.csv") for name in ("train", "known", "test"))
    pytorch_lightning.seed_everything(job["seed"], verbose=False)
    started, worked = time.perf_counter(), time.process_time()
    model = SASRecModel(**job["settings"], epochs=job["epochs"])
    model.fit(Dataset.construct(train))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    users = test[Columns.User].unique()
    dataset = Dataset.construct(known_events)
    started = time.perf_counter()
    recommendations = model.recommend(users, dataset, k=job["k"], filter_viewed=True)
    scoring = time.perf_counter() - started
    own = calc_metrics(
        {
            "HR@10": HitRate(k=10),
            "NDCG@10": NDCG(k=10, divide_by_achievable=True),
            "MRR@10": MRR(k=10),
        },
        recommendations,
        test,
    )
    recommendations = recommendations.sort_values([Columns.User, Columns.Rank])
    lists = recommendations.groupby(Columns.User, sort=False)[Columns.Item].apply(list)
    width = max(map(len, lists))
    items = np.array([row + [""] * (width - len(row)) for row in lists])
    np.savez(folder / "lists.npz", users=lists.index.to_numpy().astype(str), items=items.astype(str))
    from importlib.metadata import version

    print(
        "\n"
        + json.dumps(
            {
                "versions": {
                    name: version(name) for name in ("rectools", "torch", "pytorch-lightning", "numpy")
                },
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "scoring": scoring,
                "threads": torch.get_num_threads(),
                "parameters": sum(parameter.numel() for parameter in model.torch_model.parameters()),
                "own": {name: float(value) for name, value in own.items()},
            }
        )
    )


def read(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype={"user_id": str, "item_id": str})
    return pd.DataFrame(
        {
            Columns.User: table["user_id"],
            Columns.Item: table["item_id"],
            Columns.Weight: 1.0,
            # nanoseconds that ascend with the row: RecTools then keeps the order of equal times, as we do
            Columns.Datetime: pd.to_datetime(table["order"], unit="s"),
        }
    )


if __name__ == "__main__":
    main()
