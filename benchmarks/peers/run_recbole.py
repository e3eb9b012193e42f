"""Run RecBole's EASE and ItemKNN on a split that it is given; called by benchmarks/parity.py in RecBole's environment.

    python run_recbole.py FOLDER

FOLDER/job.json names the models and their settings; FOLDER/data/given/given.{train,valid,test}.inter is the split, and
FOLDER/data/whole/whole.inter all of it, which RecBole splits by its own leave-one-out. Writes FOLDER/MODEL.npz
(`users`, `items`, `scores` with minus infinity where RecBole lets nothing compete) and FOLDER/own_split.json (user to
test item), and prints one JSON object: versions, and for each model its own test figures on both splits and the seconds
of fitting.
"""

import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    job = json.loads((folder / "job.json").read_text())
    os.chdir(folder)  # RecBole writes logs and checkpoints where it stands
    load = torch.load
    torch.load = lambda *args, **more: load(*args, **{"weights_only": False, **more})
    logging.disable(logging.WARNING)
    results = {}
    for name, settings in job["models"].items():
        dataset, test, trainer, figures, seconds = run(
            folder, name, settings, "given", ["train", "valid", "test"]
        )
        users, rows = [], []
        trainer.tot_item_num = dataset.item_num
        for batch in test:
            interaction, scores, *_ = trainer._full_sort_batch_eval(batch)
            users.extend(dataset.id2token("user_id", interaction["user_id"].numpy()))
            rows.append(scores.numpy())
        items = dataset.id2token("item_id", np.arange(1, dataset.item_num))
        np.savez(
            folder / f"{name}.npz",
            users=np.array(users, dtype=str),
            items=np.array(items, dtype=str),
            scores=np.concatenate(rows)[:, 1:],
        )
        dataset, test, _, on_own_split, _ = run(folder, name, settings, "whole", None)
        test_events = test._dataset.inter_feat
        chosen = zip(
            dataset.id2token("user_id", test_events["user_id"].numpy()).tolist(),
            dataset.id2token("item_id", test_events["item_id"].numpy()).tolist(),
            strict=True,
        )
        (folder / "own_split.json").write_text(json.dumps(dict(chosen)))
        results[name] = {"own": figures, "own_split": on_own_split, "seconds": seconds}
    from importlib.metadata import version

    versions = {package: version(package) for package in ("recbole", "torch", "numpy")}
    print("\n" + json.dumps({"versions": versions, "models": results}))


def run(folder, name, settings, data, files):
    """Fit a model and let RecBole measure it; return data set, test loader, trainer, figures and seconds of fitting."""
    sys.argv = sys.argv[:1]  # RecBole reads the command line
    config = Config(
        model=name,
        dataset=data,
        config_dict={
            "data_path": str(folder / "data"),
            "benchmark_filename": files,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {
                "mode": "full",
                "order": "TO",
                "group_by": "user",
                "split": {"LS": "valid_and_test"},
            },
            "metrics": ["Hit", "NDCG", "MRR"],
            "topk": [10],
            "metric_decimal_place": 8,
            "use_gpu": False,
            "show_progress": False,
            "eval_batch_size": 10_000_000,
            **settings,
        },
    )
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    started = time.perf_counter()
    model = get_model(name)(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, saved=False, show_progress=False)
    seconds = time.perf_counter() - started
    figures = trainer.evaluate(test, load_best_model=False, show_progress=False)
    return dataset, test, trainer, {key: float(value) for key, value in figures.items()}, seconds


if __name__ == "__main__":
    main()
