"""Models side by side: every pair tested and corrected, seeds beside users, and no difference without its interval."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest

import instructrec.evaluation as ev
from instructrec.errors import InputError
from instructrec.evaluation import comparison
from instructrec.evaluation.report.formatting import text_table
from tests.differences import bare_differences

N_USERS = 120


def figures(name: str, lead: float = 0.0, seed: int = 0, **extra_columns: object) -> ev.Evaluation:
    """A model that is ahead of the others by `lead` on the same users, with noise of its own."""
    base = np.random.default_rng(99).random(N_USERS)
    noise = np.random.default_rng([seed, *name.encode()]).normal(0, 0.1, N_USERS)
    per_user = pd.DataFrame(
        {"user_id": range(N_USERS), "NDCG@10": base + lead + noise, "HR@10": base.round()}
    )
    return ev.Evaluation(name, per_user.assign(**extra_columns), "leave-last-out, test, whole catalogue")


@pytest.fixture(scope="module")
def models() -> list[ev.Evaluation]:
    return [figures("low", -0.1), figures("mid"), figures("high", 0.1), figures("mid again", 0.001)]


def test_every_pair_is_compared_once_the_better_first(models):
    pairs = ev.all_pairs(models, "NDCG@10")
    names = [result.model for result in models]
    assert {frozenset(pair[:2]) for pair in pairs} == {
        frozenset((a, b)) for i, a in enumerate(names) for b in names[:i]
    }
    assert len(pairs) == 6
    assert all(pair.difference.mean >= 0 for pair in pairs)
    assert [pair.first for pair in pairs][:3] == ["high"] * 3
    assert {"low"} == {pair.second for pair in pairs} - {pair.first for pair in pairs}


def test_a_pair_holds_what_the_single_tests_give(models):
    pairs = ev.all_pairs(models, "NDCG@10", seed=3)
    by_name = {result.model: result.per_user["NDCG@10"] for result in models}
    for pair in pairs:
        pair_values = by_name[pair.first], by_name[pair.second]
        assert pair.difference == pytest.approx(ev.paired_difference(*pair_values, seed=3), abs=1e-12)
        assert pair.p == ev.randomisation_test(*pair_values, seed=3)
        assert pair.significant == (pair.p_holm < 0.05)
    assert [pair.p_holm for pair in pairs] == ev.holm([pair.p for pair in pairs]).tolist()
    assert [pair.significant for pair in pairs].count(False) == 1


def test_the_table_holds_the_pairs_in_order(models):
    pairs = ev.all_pairs(models, "NDCG@10")
    table = ev.pairs_table(pairs, "NDCG@10")
    assert table.index.names == ["model", "minus"]
    assert table.index.tolist() == [pair[:2] for pair in pairs]
    assert table["NDCG@10 difference"].tolist() == [pair.difference for pair in pairs]
    assert table["p"].tolist() == [pair.p for pair in pairs]
    assert table["p (Holm)"].tolist() == [pair.p_holm for pair in pairs]
    assert table["significant"].tolist() == ["yes" if pair.significant else "no" for pair in pairs]


def test_the_order_of_the_evaluations_changes_nothing(models):
    assert ev.all_pairs(models, "NDCG@10") == ev.all_pairs(models[::-1], "NDCG@10")


def test_what_passes_alone_may_not_pass_among_many():
    # The second is barely ahead of the first: alone the difference is significant, among ten equal models it is not.
    lead = next(
        lead
        for lead in np.arange(0, 0.1, 0.002)
        if 0.01 < ev.all_pairs([figures("a"), figures("b", lead)], "NDCG@10")[0].p < 0.04
        and ev.all_pairs([figures("a"), figures("b", lead)], "NDCG@10")[0].first == "b"
    )
    two = [figures("a"), figures("b", lead)]
    assert ev.all_pairs(two, "NDCG@10")[0].significant
    many = ev.all_pairs([*two, *(figures(f"c{i}") for i in range(8))], "NDCG@10")
    pair = next(pair for pair in many if pair[:2] == ("b", "a"))
    assert not pair.significant
    assert pair.p == ev.all_pairs(two, "NDCG@10")[0].p
    assert not ev.all_pairs(two, "NDCG@10", level=0.009)[0].significant


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda a, b: ev.all_pairs([a], "NDCG@10"), "only 'a'; a pair needs at least two"),
        (lambda a, b: ev.all_pairs([], "NDCG@10"), "empty list"),
        (lambda a, b: ev.all_pairs([a, a], "NDCG@10"), "two evaluations are named 'a'"),
        (lambda a, b: ev.all_pairs([a, b], "MRR@10"), "a was not measured by 'MRR@10'; accepted: NDCG@10"),
        (lambda a, b: ev.all_pairs([b, a], "extra"), "a was not measured by 'extra'"),
        (lambda a, b: ev.all_pairs([a, b], "NDCG@10", level=5), "level is 5"),
        (lambda a, b: ev.all_pairs([a, b], "NDCG@10", n_permutations=0), "n_permutations is 0"),
        (lambda a, b: ev.all_pairs([a, figures("c", user_id=range(1, 121))], "NDCG@10"), "same requests"),
        (lambda a, b: ev.over_seeds([]), "empty list"),
        (lambda a, b: ev.over_seeds([[a], []]), "empty list"),
        (lambda a, b: ev.over_seeds([[a, b]]), "seeds of one model are named 'a' and 'b'.*label"),
        (lambda a, b: ev.over_seeds([[a], [a]]), "two evaluations are named 'a'"),
        (lambda a, b: ev.over_seeds([[b], [a]], metrics=["extra"]), "a was not measured by 'extra'"),
        (lambda a, b: ev.over_seeds([[a], [figures("c", user_id=range(1, 121))]]), "same requests"),
        (lambda a, b: ev.over_seeds([[a, figures("a", user_id=range(1, 121))]]), "same requests"),
        (lambda a, b: ev.seed_mean([figures("a", extra=1.0), a]), "a was not measured by 'extra'"),
        (lambda a, b: ev.difference_over_seeds([a], [b], "MRR@10"), "a was not measured by 'MRR@10'"),
        (
            lambda a, b: ev.difference_over_seeds([a], [figures("c", user_id=range(1, 121))], "HR@10"),
            "same req",
        ),
    ],
)
def test_a_table_of_what_cannot_be_compared_is_refused_in_one_line(call, says):
    with pytest.raises(InputError, match=says) as caught:
        call(figures("a"), figures("b", extra=1.0))
    assert "\n" not in str(caught.value)


def test_seeds_stand_beside_users():
    seeds = [figures("net", 0.1 * seed, seed=seed) for seed in range(3)]
    table = ev.over_seeds([seeds, [figures("knn")]])
    values = np.array([result.per_user["NDCG@10"] for result in seeds])
    assert table.index.tolist() == ["net", "knn"]
    assert table["seeds"].tolist() == [3, 1]
    assert table.loc["net", "NDCG@10"] == str(ev.seeds_interval(values))
    assert table.loc["net", "NDCG@10 sd over seeds"] == pytest.approx(
        np.std([result.per_user["NDCG@10"].mean() for result in seeds], ddof=1)
    )
    assert table.loc["net", "HR@10 sd over seeds"] == 0
    assert table.loc["knn", "NDCG@10"] == ev.compare([figures("knn")]).loc["knn", "NDCG@10"]
    assert np.isnan(table.loc["knn", "NDCG@10 sd over seeds"])
    assert ev.over_seeds([seeds], metrics=["HR@10"]).columns.tolist() == [
        "seeds",
        "HR@10",
        "HR@10 sd over seeds",
    ]


def test_a_difference_over_seeds_is_less_sure_than_over_users():
    first = [figures("net", 0.1 * seed, seed=seed) for seed in range(3)]
    second = [figures("knn")]
    pair_values = ev.difference_over_seeds(first, second, "NDCG@10")
    users = ev.all_pairs([ev.seed_mean(first), *second], "NDCG@10")[0].difference
    assert pair_values.mean == pytest.approx(users.mean)
    assert pair_values.low < users.low < users.high < pair_values.high


def test_the_mean_over_seeds_is_each_users_mean():
    seeds = [figures("net", seed=seed) for seed in range(3)]
    mean = ev.seed_mean(seeds)
    assert (mean.model, mean.protocol, mean.metrics) == ("net", seeds[0].protocol, seeds[0].metrics)
    assert mean.per_user["NDCG@10"].tolist() == pytest.approx(
        sum(result.per_user["NDCG@10"] for result in seeds) / 3
    )
    assert mean.per_user["user_id"].tolist() == list(range(N_USERS))


@pytest.mark.parametrize(
    ("table", "bare"),
    [
        ({"a": {"NDCG@10 minus b": "0.010 [-0.020, 0.030]"}}, []),
        ({"a": {"NDCG@10 minus b": "-1,000.5 [−2,000, 3]"}, "b": {"NDCG@10 minus b": ""}}, []),
        ({"a": {"NDCG@10 minus b": 0.01}}, ["NDCG@10 minus b"]),
        ({"a": {"Difference": "0.010"}}, ["Difference"]),
        ({"a": {"Difference": "0.010 [0.001]"}}, ["Difference"]),
        ({"a": {"difference": "0.010 [0.001, 0.020]"}, "b": {"difference": "0.010"}}, ["difference"]),
        ({"lead of a": {"NDCG@10": 0.01}, "a": {"NDCG@10": 0.02}}, ["lead of a"]),
        ({"lead of a": {"NDCG@10": None, "HR@10": float("nan")}}, []),
        ({"a": {"misleading, against": 0.01, "p": 0.04}}, []),
    ],
)
def test_a_difference_without_its_interval_is_found(table, bare):
    assert bare_differences(pd.DataFrame.from_dict(table, orient="index")) == bare


def test_no_table_of_the_package_shows_a_difference_without_its_interval(models):
    tables = {
        "compare": ev.compare(models),
        "compare_with": ev.compare_with(models[0], models[1:], "NDCG@10"),
        "pairs_table": text_table(ev.pairs_table(ev.all_pairs(models, "NDCG@10"), "NDCG@10")),
        "over_seeds": ev.over_seeds([[result] for result in models]),
    }
    # A table that is added to the module has to be added here.
    makers = {
        name
        for name, function in inspect.getmembers(comparison, inspect.isfunction)
        if not name.startswith("_") and inspect.signature(function).return_annotation == "pd.DataFrame"
    }
    assert makers == set(tables)
    assert {name: bare_differences(table) for name, table in tables.items()} == dict.fromkeys(tables, [])
    intervals = tables["pairs_table"]["NDCG@10 difference"]
    assert bare_differences(tables["pairs_table"].assign(difference=intervals.str[:5])) == ["difference"]
