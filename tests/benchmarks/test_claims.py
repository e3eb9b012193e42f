"""The verdicts on the paper's claims, and the figures of benchmarks/smollm2.py, on numbers checked by hand."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks import claims, smollm2
from instructrec.datasets import movielens
from instructrec.evaluation.paper import expected_metrics, paper_metrics


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        ((0.3, 0.2, 0.4), "holds"),
        ((0.0, -0.1, 0.09), "does not hold"),
        ((0.2, 0.05, 0.4), "cannot be told here"),
    ],
)
def test_a_claim_holds_where_the_whole_interval_is_on_its_side(figure, verdict):
    assert claims.above(figure, 0.1) == verdict


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        ((1.05, 1.01, 1.09), "holds"),
        ((1.05, 0.95, 1.09), "cannot be told here"),
        ((0.8, 0.7, 0.9), "does not hold"),
        ((1.3, 1.2, 1.4), "does not hold"),
    ],
)
def test_a_claim_of_smallness_holds_within_its_bounds(figure, verdict):
    assert claims.within(figure, 1, 1.1) == verdict


def test_a_difference_of_independent_figures():
    assert claims.difference([0.5, 0.47, 0.53], [0.3, 0.26, 0.34]) == (0.2, 0.15, 0.25)


def results() -> dict:
    figure = [0.5, 0.45, 0.55]
    return {
        "results": {
            "ratios": [
                {"condition": "P1, I0", "negatives": negatives, "of": of, "to": to, "ratio": [2.5, 2.2, 2.8]}
                for negatives in ("random", "hard")
                for of, to in (("tuned", "zero-shot"), ("tuned", "sasrec"), ("mini", "sasrec"))
            ],
            "differences": [
                {"of": of, "to": to, "negatives": "random", "model": model, "HR@1": figure}
                for model in ("tuned", "mini")
                for of, to in (
                    ("P1, I1", "P1, I0"),
                    ("P1, I2", "P1, I0"),
                    ("P1 and P2, I0", "P1, I0"),
                    ("P1, I2", "P0, I2"),
                )
            ],
        },
        "transfer": {"tuned - zero-shot": [-0.1, -0.2, -0.05]},
    }


def test_every_claim_has_a_verdict_that_follows_from_its_figure():
    row = {"vague wish": {"obeyed": [0.9, 0.88, 0.92]}, "unseen wording": {"obeyed": [0.9, 0.88, 0.92]}}
    checked = claims.claims(
        results(),
        {f"texts: {name}": {"rows": row} for name in ("as it is", "no wishes", "categories alone")},
    )
    verdicts = [claim.verdict for claim in checked]
    assert verdicts[:6] == ["holds"] * 6
    assert (
        verdicts[6:9] == ["does not hold"] * 3
    )  # half a point of HR is not little, 2.5 times is not a little
    assert verdicts[9:11] == ["holds"] * 2
    assert verdicts[11:] == ["cannot be told here"] * 2 + ["does not hold"]
    assert all(claim.paper and claim.experiment for claim in checked)


def test_the_file_of_claims_follows_from_what_was_measured():
    checked = claims.claims(*(claims.read(name) for name in ("smollm2", "mini_ablation")))
    saved = json.loads((claims.FOLDER / "claims.json").read_text("utf-8"))
    assert saved == [{**claim._asdict(), "figure": list(claim.figure)} for claim in checked]
    assert saved[0]["verdict"] == "holds"


def test_metrics_expected_metrics_request():
    targets, negatives = np.array([[2.0], [1.0]]), np.array([[3.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    metrics = smollm2.per_user(targets, negatives)
    assert list(metrics) == list(paper_metrics())
    assert metrics["HR@1"].tolist() == [0, 0.5]  # the second is tied with a negative
    assert metrics["NDCG@3"] == pytest.approx([1 / np.log2(3), (1 + 1 / np.log2(3)) / 2])
    assert expected_metrics(np.array([9]), np.array([1]), 10)["HR@5"].tolist() == [0]


def test_a_ratio_of_models_draws_users_for_both():
    first, second = np.array([1.0, 0.0, 1.0, 0.0] * 20), np.array([1.0, 0.0, 0.0, 0.0] * 20)
    mean, low, high = smollm2.ratio(first, second)
    assert mean == 2
    assert 1.4 < low < 2 < high < 3.2
    assert smollm2.ratio(first, first) == [1, 1, 1]


def test_scores_are_measured_again_for_other_candidates_or_another_model(tmp_path):
    candidates = np.arange(12).reshape(3, 4)
    path = tmp_path / "scores.npz"
    digests = {"candidates": np.array(smollm2.content_digest(candidates)), "model": np.array("one")}
    np.savez(path, scores=np.zeros((3, 4)), **digests)
    assert smollm2.is_of(path, candidates, "one")
    assert smollm2.is_of(path, candidates, "")  # the model is not on this machine: its scores are trusted
    assert not smollm2.is_of(path, candidates, "another")
    assert not smollm2.is_of(path, candidates[::-1], "one")


def test_rows_of_the_list_are_spelt_as_in_its_file():
    package = find_spec("recbole")
    if package is None or package.origin is None:
        pytest.skip("the wheel with MovieLens's own spelling is not installed")
    file = Path(package.origin).parent / "dataset_example" / "ml-100k" / "ml-100k.item"
    fields = [line.split("\t") for line in file.read_text("utf-8").splitlines()[1:]]
    expected = {f"{item}|{title} ({year})\n" for item, title, year, _ in fields}
    films = movielens.movielens_100k()
    rows = smollm2.rows_of(films)
    assert len(rows) == len(expected) == 1682
    assert len(expected.intersection(rows)) > 0.96 * 1682  # articles in other languages differ
    assert "12|Usual Suspects, The (1995)\n" in rows
    for title in films.items["title"]:
        if "(" not in title:
            assert movielens.title_and_year(f"{smollm2.article_last(title)} (1995)") == (title, 1995)
