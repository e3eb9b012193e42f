"""A search fits every combination, reads validation alone, and goes on where it was cut off."""

import json
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from instructrec import models
from instructrec.datasets.readers import from_csv
from instructrec.errors import InputError
from instructrec.evaluation import evaluate
from instructrec.evaluation.tuning import Search, Trial, Tuning, read_tunings, search, write_tunings
from instructrec.models.base import Recommender
from instructrec.split import leave_last_out, random_holdout
from instructrec.validation import ModelConfig
from tools.build_book import ROOT

RECORD = ROOT / "benchmarks" / "results" / "tuning.json"
GRID = {"k": [1, 5, 25], "length": [None, 2]}


class LearnerConfig(ModelConfig):
    """Settings of `Learner`."""

    best: int = 3
    epochs: int = 7
    fault: bool = False
    seed: int = 0


class Learner(Recommender):
    """A model that gets worse after its best epoch and counts how often it was fitted."""

    name = "learner"
    config_class = LearnerConfig
    fits = 0

    def fit(self, dataset, *, on_epoch=None):
        Learner.fits += 1
        if self.settings["fault"]:
            raise ZeroDivisionError("nothing to divide by")
        self.dataset = dataset
        self.truth = self.truths[dataset.n_interactions]
        for number in range(1, self.settings["epochs"] + 1):
            self.wrong = abs(number - self.settings["best"])
            if on_epoch is not None:
                on_epoch(number, self)
        return self

    def _score(self, histories, instructions):
        scores = np.zeros((len(histories), self.dataset.n_items))
        for row, target in enumerate(self.truth):
            scores[row, (target + (row < 5 * self.wrong)) % self.dataset.n_items] = 1
        return scores

    def _fit(self, dataset):
        raise NotImplementedError

    _arrays = _restore = _fit


@pytest.fixture(scope="module")
def split(events_csv):
    return leave_last_out(from_csv(events_csv))


@pytest.fixture(autouse=True)
def learner(split):
    Learner.fits = 0
    targets = [int(split.train.item_columns(one)[0]) for one in split.requests("valid").targets]
    Learner.truths = {split.train.n_interactions: targets}


def test_each_combination_is_fitted_on_training_and_measured_on_validation(split):
    found = search("item-knn", GRID, split, metric="NDCG@5")
    assert [trial.settings for trial in found.trials] == [
        {"k": k, "length": length} for k in (1, 5, 25) for length in (None, 2)
    ]
    for trial in found.trials:
        model = models.create("item-knn", **trial.settings).fit(split.train)
        own = evaluate(model, split, part="valid", ks=(5,)).summary().loc["NDCG@5"]
        assert tuple(trial.interval) == pytest.approx(tuple(own), abs=1e-12)
    assert found.winner.value == max(trial.value for trial in found.trials)
    assert len({trial.value for trial in found.trials}) > 1


def test_the_test_part_changes_nothing_and_cannot_be_asked_for(split):
    shuffled = replace(
        split, test=split.test.assign(item_id=split.test["item_id"].to_numpy()[::-1]), before_test=split.test
    )
    first, second = (search("item-knn", GRID, one) for one in (split, shuffled))
    assert [trial.interval for trial in first.trials] == [trial.interval for trial in second.trials]
    assert first.data_sha256 == second.data_sha256
    with pytest.raises(InputError, match="part is 'test'; settings are chosen on 'valid'"):
        search("item-knn", GRID, split, part="test")


def test_the_value_is_that_of_the_last_epoch_and_the_curve_shows_the_way(split):
    found = search(Learner, {"best": [3, 6], "epochs": [7]}, split, curve_every=3)
    for trial in found.trials:
        assert [epoch for epoch, _ in trial.curve] == [3, 6, 7]
        assert trial.curve[-1][1] == trial.value
    assert found.trials[0].curve[0][1] == 1.0 > found.trials[0].value  # its best epoch is not picked
    assert found.winner.settings["best"] == 6
    assert search("item-knn", GRID, split).trials[0].curve == []


def test_seconds_are_those_of_the_fit_without_the_measuring_between_epochs(split):
    class Slow(Learner):
        def fit(self, dataset, **options):
            time.sleep(0.05)
            return super().fit(dataset, **options)

        def _score(self, histories, instructions):
            time.sleep(0.2)
            return super()._score(histories, instructions)

    (trial,) = search(Slow, {"epochs": [4]}, split, curve_every=1).trials
    assert 0.05 <= trial.seconds < 0.2


def test_equal_values_go_to_the_first_trial(split):
    found = search(Learner, {"best": [5, 9]}, split)  # both 2 epochs off at the end
    assert found.trials[0].value == found.trials[1].value
    assert found.winner is found.trials[0]


def test_the_seed_goes_to_models_with_chance_only(split):
    seen = []

    class Seeded(Learner):
        def fit(self, dataset, **options):
            seen.append(self.settings["seed"])
            return super().fit(dataset, **options)

    search(Seeded, {"best": [3]}, split, seed=5)
    search("item-knn", {"k": [5]}, split, seed=5)
    assert seen == [5]


# -- the record --------------------------------------------------------------------------------------------------------


def test_a_record_gives_back_the_same_search(split, tmp_path):
    path = tmp_path / "tuning.json"
    first = search("item-knn", GRID, split, path=path)
    second = search(Learner, {"best": [3, 6]}, split, path=path)
    assert read_tunings(path) == {"item-knn": first, "learner": second}
    before = path.read_bytes()
    write_tunings(read_tunings(path), path)
    assert path.read_bytes() == before
    assert sum(line.lstrip().startswith('{"settings"') for line in path.read_text().splitlines()) == 8


def test_a_search_goes_on_where_it_was_cut_off(split, tmp_path):
    path = tmp_path / "tuning.json"
    grid = {"best": [1, 2, 3, 4]}

    def stop(number, total, trial):
        assert total == 4
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(Learner, grid, split, path=path, on_progress=stop)
    assert len(read_tunings(path)["learner"].trials) == 2
    with pytest.raises(InputError, match="has made 2 of 4 trials"):
        _ = read_tunings(path)["learner"].winner
    found = search(Learner, grid, split, path=path)
    assert Learner.fits == 4
    whole = search(Learner, grid, split)
    assert [(one.settings, one.value) for one in found.trials] == [
        (one.settings, one.value) for one in whole.trials
    ]


def test_a_moved_grid_keeps_its_earlier_trials_apart(split, tmp_path):
    path = tmp_path / "tuning.json"
    search(Learner, {"best": [6, 7]}, split, path=path)
    found = search(Learner, {"best": [5, 6]}, split, path=path)
    assert Learner.fits == 3
    assert [trial.settings["best"] for trial in found.trials] == [5, 6]
    assert [trial.settings["best"] for trial in found.earlier] == [7]
    assert found.winner.settings["best"] == 6  # 7 was better and is no part of this grid
    assert read_tunings(path)["learner"] == found


def test_a_record_of_another_experiment_is_refused(split, tmp_path):
    path = tmp_path / "tuning.json"
    search("item-knn", GRID, split, path=path)
    before = path.read_bytes()
    other = random_holdout(split.train)
    with pytest.raises(InputError, match="holds a search of item-knn with data_sha256 .* give another file"):
        search("item-knn", GRID, other, path=path)
    with pytest.raises(InputError, match="with metric 'NDCG@10', and 'HR@1' is asked for"):
        search("item-knn", GRID, split, metric="HR@1", path=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no record of searches"),
        ("[]", "lacks 'format' or 'searches'"),
        ('{"format": 2, "searches": []}', "unknown format of the record .* accepted: 1"),
        ('{"format": 1, "searches": [{"model": "x"}]}', "is a damaged record"),
        ('{"format": 1, "searches": 7}', "is a damaged record"),
    ],
)
def test_a_file_that_is_no_record_is_refused_in_one_line(text, message, tmp_path):
    path = tmp_path / "tuning.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_tunings(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        read_tunings(tmp_path / "none.json")


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        ({}, {}, "grid of item-knn is {}"),
        ({"k": []}, {}, r"k is \[\]; a list of at least one value"),
        ({"k": 5}, {}, "k is 5; a list of at least one value"),
        ({"k": [5, 5]}, {}, "k holds 5 twice"),
        ({"k": [5, 0]}, {}, "k is 0; a whole number"),
        ({"depth": [5]}, {}, "unknown setting of item-knn 'depth'"),
        ({"k": [np.int64(5)]}, {}, "cannot be written as JSON"),
        ({"seed": [0, 1]}, {}, "a lucky seed is no setting"),
        (GRID, {"metric": "NDCG"}, "unknown metric 'NDCG'"),
        (GRID, {"metric": "XX@10"}, "unknown metric 'XX@10'"),
        (GRID, {"curve_every": 0}, "curve_every is 0; a whole number of at least 1"),
        (GRID, {"seed": -1}, "seed is -1; a whole number of at least 0"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_fitted(split, grid, options, message):
    with pytest.raises(InputError, match=message) as caught:
        search("item-knn", grid, split, **options)
    assert "\n" not in str(caught.value)


def test_a_model_that_fails_is_named_with_its_settings_and_the_record_stays(split, tmp_path):
    path = tmp_path / "tuning.json"
    with pytest.raises(
        InputError, match=r"^learner, trial 2 of 2 \(fault=True\): ZeroDivisionError: nothing"
    ):
        search(Learner, {"fault": [False, True]}, split, path=path)
    assert len(read_tunings(path)["learner"].trials) == 1


def test_progress_stands_on_standard_error(split, capsys):
    search("item-knn", {"k": [5]}, split, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "item-knn: k=5" in err
    search("item-knn", {"k": [5]}, split)
    assert capsys.readouterr() == ("", "")


def test_a_search_by_one_user_is_refused(split, tmp_path):
    alone = replace(split, valid=split.valid.iloc[:1])
    message = "part 'valid' of the leave-last-out split holds 1 request; a search needs at least 2"
    with pytest.raises(InputError, match=message) as caught:
        search(Learner, {"best": [3]}, alone, path=tmp_path / "tuning.json")
    assert "\n" not in str(caught.value)
    assert Learner.fits == 0
    assert list(tmp_path.iterdir()) == []


# -- what a search says ------------------------------------------------------------------------------------------------


def made(grid, winner):
    combinations = Search("item-knn", grid).combinations()
    trials = [Trial(one, 0.2 if one == winner else 0.1, 0.05, 0.3, 1.25) for one in combinations]
    return Tuning("item-knn", "d", "", "leave-last-out", "NDCG@10", 0, grid, trials)


def test_a_table_is_best_first_and_each_value_has_its_interval():
    table = made(GRID, {"k": 25, "length": None}).table()
    assert table.index.tolist() == [5, 1, 2, 3, 4, 6]
    assert table.loc[5].to_dict() == {
        "k": 25,
        "length": "all",
        "NDCG@10": "0.200 [0.050, 0.300]",
        "fit (s)": 1.2,
    }


@pytest.mark.parametrize(
    ("k", "length", "edges"),
    [(1, 3, {"k": 1, "length": 3}), (5, 10, {}), (25, None, {"k": 25})],
)
def test_a_winner_at_the_edge_of_its_grid_is_told(k, length, edges):
    grid = {"k": [1, 5, 25], "length": [None, 10, 3], "shrink": [10]}
    assert made(grid, {"k": k, "length": length, "shrink": 10}).edges() == edges


@pytest.mark.parametrize(
    ("k", "length", "edges"),
    [(200, None, {"k": 200}), (800, None, {"k": 800}), (800, 3, {"k": 800, "length": 3})],
)
def test_of_two_values_each_is_an_edge(k, length, edges):
    grid = {"k": [200, 800], "length": [None, 3], "shrink": [0]}
    assert made(grid, {"k": k, "length": length, "shrink": 0}).edges() == edges


# -- what is recorded in this repository -------------------------------------------------------------------------------


def test_no_network_was_tuned_harder_than_another_model():
    from benchmarks.tuning import GRIDS

    counts = {name: len(Search(name, grid).combinations()) for name, grid in GRIDS.items()}
    most = max(counts[name] for name in ("three-tower", "two-tower", "sasrec"))
    assert min(counts.values()) >= most >= 12
    for name, one in read_tunings(RECORD).items():
        assert len(one.trials) == counts[name], name
        assert one.grid == GRIDS[name], name


def test_the_package_keeps_the_winners_of_the_record():
    from benchmarks.tuning import winners_of

    winners = json.loads(models.TUNED.read_text("utf-8"))
    assert winners == {"movielens-100k": winners_of(read_tunings(RECORD))}
    for name, settings in winners["movielens-100k"].items():
        model = models.tuned(name)
        assert model.name == name
        assert {setting: model.settings[setting] for setting in settings} == settings
        assert models.tuned_settings(name) == settings


def test_a_model_that_was_not_tuned_is_refused():
    assert models.tuned("item-knn", shrink=3).settings["shrink"] == 3
    with pytest.raises(InputError, match="unknown tuned model 'random': .*accepted: .*ease"):
        models.tuned("random")
    with pytest.raises(InputError, match="unknown data set of tuned models 'shop'"):
        models.tuned("ease", data="shop")


def test_the_table_of_baselines_takes_the_winners_and_adds_up_its_seconds(tmp_path):
    from benchmarks import baselines
    from instructrec.evaluation.experiment import run_experiment
    from instructrec.evaluation.results import Results

    some = baselines.select_models(["als", "ease tuned", "ease", "random"])
    assert [one.label for one in some] == ["random", "item-knn", "ease", "ease tuned", "als"]
    assert some[3].settings == models.tuned_settings("ease")
    assert some[2].settings == some[1].settings == {}
    with pytest.raises(InputError, match="unknown model 'easy': did you mean ease"):
        baselines.select_models(["easy"])
    rows = [(user, item, 4.0, 10 * user + item) for user in range(9) for item in range(user % 3, 8)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    table.to_csv(tmp_path / "events.csv", index=False)
    data = from_csv(tmp_path / "events.csv")
    protocols = ("leave-last-out", "random-holdout")
    found = run_experiment(some[:2], data, None, protocols, seeds=(3, 4), progress=False)
    assert isinstance(found, Results)
    counted = [
        one
        for one in found.runs
        if one.protocol == "leave-last-out" and one.label == "random" and one.seed == 3
    ]
    assert len(counted) == 1
    assert baselines.seconds_of_table(found, {"random"}, 3) == sum(counted[0].seconds.values())
    assert baselines.seconds_of_table(found, {"random", "item-knn"}, 3) > sum(counted[0].seconds.values())
