"""A metric is one function in one file: everything else knows it by its registered name."""

import importlib
import sys

import numpy as np
import pytest

from instructrec import cli, models
from instructrec import evaluation as ev
from instructrec.datasets.readers import from_csv
from instructrec.errors import InputError
from instructrec.evaluation.experiment import ModelSpec, run_experiment
from instructrec.evaluation.metrics import METRICS, metric, parse_metric
from instructrec.evaluation.target_ranks import target_ranks
from instructrec.evaluation.tuning import search
from instructrec.split import leave_last_out

TOY = '''
import numpy as np
from instructrec.evaluation import metric

@metric("first", reported="always")
def first(ranks, k):
    """Return 1 if the best item is relevant, else 0."""
    return (ranks.best == 1).astype(float)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The metric of a module outside the package; afterwards it is unknown again."""
    (tmp_path / "toy_metric.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("toy_metric").first
    del METRICS["first"], sys.modules["toy_metric"]


def test_a_new_metric_is_known_everywhere(toy, events_csv, tmp_path, capsys):
    assert ev.METRICS["first"] is toy
    assert toy([[1, 0], [0, 1]], [[2.0, 1.0], [2.0, 1.0]], k=2).tolist() == [1, 0]
    assert "Return 1 if the best item is relevant" in toy.__doc__
    assert "y_pred: Scores" in toy.__doc__
    split = leave_last_out(from_csv(events_csv))
    knn, popular = (models.create(name).fit(split.train) for name in ("item-knn", "most-popular"))
    hits = [ev.evaluate(model, split, ks=(1,), metrics=("HR", "first")) for model in (knn, popular)]
    assert all(hit.per_user["HR@1"].equals(hit.per_user["first@1"]) for hit in hits)
    assert "first@10" in ev.evaluate(knn, split).metrics
    assert "first@1" in ev.compare(hits).columns
    assert search("item-knn", {"k": [5, 10]}, split, metric="first@3").metric == "first@3"
    specs = [ModelSpec("knn", "item-knn"), ModelSpec("popular", "most-popular")]
    path = tmp_path / "results.json"
    results = run_experiment(specs, from_csv(events_csv), path, progress=False)
    assert results.evaluation("knn", "leave-last-out", metrics=("first",)).metrics == ["first@10"]
    report = ev.report(path, metric="first", figures=False)
    assert "first@10" in report.tables["accuracy-leave-last-out"]
    assert "first@10 difference" in report.tables["pairs-leave-last-out"]
    assert cli.main(["report", str(path), "--out", str(tmp_path / "report"), "--metric", "first"]) == 0
    assert "first@10" in (tmp_path / "report" / "report.md").read_text("utf-8")
    for command in ("evaluate", "compare", "report"):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        assert "first" in capsys.readouterr().out.rpartition("metrics: ")[2]


@pytest.mark.parametrize("name", ["", "NDCG", "a@b"])
def test_a_name_that_is_taken_or_none_is_refused(name):
    before = dict(METRICS)
    with pytest.raises(InputError, match="without '@'"):
        metric(name)
    assert before == METRICS


@pytest.mark.parametrize(
    "text", ["NDCG", "NDCG@0", "NDCG@", "NDGC@10", "NDCG@1.5", "@10", 10, "NDCG@1000000"]
)
def test_what_names_no_metric_at_a_length_is_refused(text):
    with pytest.raises(InputError, match="NDCG@10"):
        parse_metric(text)
    assert parse_metric("NDCG@999999") == (METRICS["NDCG"], 999_999)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_scores_is_that_of_their_ranks(name):
    rng = np.random.default_rng(0)
    relevant, scores = rng.random((20, 15)) < 0.2, rng.integers(0, 5, (20, 15)).astype(float)
    ranks = target_ranks(scores, [np.flatnonzero(row) for row in relevant])
    assert METRICS[name](relevant, scores, 4).tolist() == METRICS[name].from_ranks(ranks, 4).tolist()
