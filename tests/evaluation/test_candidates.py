"""Who competes with a target, one scoring for all candidates, and figures made elsewhere; faults are named."""

import numpy as np
import pandas as pd
import pytest

from instructrec import evaluation as ev
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.evaluation.protocol import candidate_mask
from instructrec.models.base import Recommender
from instructrec.split import SPLITS, leave_last_out


class Table(Recommender):
    """Scores by a table of (history length, column) that a test may set; counts how often it is asked."""

    name = "table"

    def __init__(self, rule=lambda histories, n: np.tile(np.arange(n, dtype=float), (len(histories), 1))):
        super().__init__()
        self.rule, self.asked = rule, 0

    def _fit(self, dataset):
        pass

    def _score(self, histories, instructions):
        self.asked += len(histories)
        return self.rule(histories, self.dataset.n_items)

    def _arrays(self):
        return {}

    def _restore(self, arrays):
        pass


def world(n_users=40, n_items=30, seed=0, rename=lambda item: f"item-{item:02d}"):
    rng = np.random.default_rng(seed)
    rows = [
        (f"user-{user}", rename(item), 5.0, int(rng.integers(0, 50)))
        for user in range(n_users)
        for item in rng.permutation(n_items)[: rng.integers(4, 12)]
    ]
    items = pd.DataFrame(
        {"item_id": [rename(i) for i in range(n_items)], "title": "t", "categories": [("c",)] * n_items}
    )
    users = pd.DataFrame({"user_id": [f"user-{u}" for u in range(n_users)]})
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return Dataset("world", users, items, interactions)


@pytest.fixture
def split():
    return leave_last_out(world())


def noisy(seed):
    def rule(histories, n):
        return np.stack([np.random.default_rng([seed, *h]).integers(0, 9, n) for h in histories]).astype(
            float
        )

    return rule


def test_masks_of_any_batch_are_the_same_and_equal_the_candidate_mask(split):
    requests = split.requests()
    for rule, n in [(ev.full_catalogue(), None), (ev.random_negatives(5, seed=3), 5)]:
        full_mask = rule.mask(split, requests)
        assert (full_mask == candidate_mask(split, requests, n, 3)).all()
        for batch in (1, 7, 1000):
            assert (np.concatenate(list(rule.blocks(split, requests, batch))) == full_mask).all()


def test_random_negatives_are_the_draws_that_they_always_were(split):
    """Published figures hang on them: one generator for all requests, `choice` among the unseen, in order."""
    requests, rng = split.requests(), np.random.default_rng(11)
    mask = ev.random_negatives(4, seed=11).mask(split, requests)
    for row, (history, targets) in enumerate(zip(requests.histories, requests.targets, strict=True)):
        history_columns = split.train.item_columns([*history, *targets])
        unseen = np.setdiff1d(np.arange(split.train.n_items), history_columns)
        negatives = rng.choice(unseen, 4, replace=False)
        expected = sorted([*negatives, *split.train.item_columns(targets)])
        assert np.flatnonzero(mask[row]).tolist() == expected


def test_hard_negatives_are_the_best_unseen_by_that_model_ties_by_catalogue(split):
    by = Table(noisy(1)).fit(split.train)
    requests = split.requests()
    rule = ev.hard_negatives(6, by)
    assert rule.name == "6 hard negatives by table"
    mask, scores = rule.mask(split, requests), by.score(requests.histories)
    for row, (history, targets) in enumerate(zip(requests.histories, requests.targets, strict=True)):
        target_columns = split.train.item_columns(targets)
        history_columns = {*split.train.item_columns(history), *target_columns}
        order = sorted(set(range(split.train.n_items)) - history_columns, key=lambda c: (-scores[row, c], c))
        assert np.flatnonzero(mask[row]).tolist() == sorted([*order[:6], *target_columns])


def test_one_scoring_serves_all_candidates_and_equals_one_evaluation_each(split):
    model, by = Table(noisy(2)).fit(split.train), Table(noisy(1)).fit(split.train)
    rules = [ev.full_catalogue(), ev.random_negatives(9), ev.hard_negatives(9, by)]
    evaluations = ev.evaluate_many(
        model, split, candidates=rules, ks=(1, 5), metrics=list(ev.METRICS), batch=7
    )
    assert list(evaluations) == ["whole catalogue", "9 random negatives", "9 hard negatives by table"]
    assert model.asked == len(split.requests())
    for result, rule in zip(evaluations.values(), rules, strict=True):
        (alone,) = ev.evaluate_many(
            model, split, candidates=[rule], ks=(1, 5), metrics=list(ev.METRICS)
        ).values()
        pd.testing.assert_frame_equal(result.per_user, alone.per_user)
        assert result.protocol == alone.protocol
        assert set(result.seconds) == {"score", "measure"}
        assert (result.lists is None) == (result.protocol != "leave-last-out, test, whole catalogue")
    sampled, full = evaluations["9 random negatives"], evaluations["whole catalogue"]
    assert (sampled.ranks.ranks <= full.ranks.ranks).all()
    assert set(sampled.ranks.n_candidates) == {10}


@pytest.mark.parametrize("name", SPLITS)
def test_an_evaluation_equals_the_measures_of_a_dense_matrix(name):
    """The former way: mask a copy of the scores and give relevance and scores to each measure."""
    split = SPLITS[name](world(seed=5))
    model = Table(noisy(4)).fit(split.train)
    evaluations = ev.evaluate(model, split, ks=(1, 5, 10), metrics=list(ev.METRICS), batch=9)
    requests = split.requests()
    scores = model.score(requests.histories).astype(float)
    scores[~candidate_mask(split, requests, None, 0)] = -np.inf
    relevant = ev.protocol.relevance(split, requests.targets)
    for k in (1, 5, 10):
        for metric, function in ev.METRICS.items():
            assert (evaluations.per_user[f"{metric}@{k}"].to_numpy() == function(relevant, scores, k)).all()


def test_lists_are_what_recommend_shows(split):
    model = Table(noisy(3)).fit(split.train)
    lists = ev.evaluate_many(model, split, list_length=30)["whole catalogue"].lists
    requests = split.requests()
    for row, history in enumerate(requests.histories):
        recommended = split.train.item_columns(model.recommend(history, n=30)["item_id"])
        assert lists[row, : len(recommended)].tolist() == recommended.tolist()
        assert (lists[row, len(recommended) :] == -1).all()


@pytest.mark.parametrize("name", SPLITS)
def test_renamed_and_reordered_items_change_neither_split_nor_ranks(name):
    """Ids that sort the other way round, and the catalogue in another order: nothing may hang on either."""
    data, turned = world(seed=8), world(seed=8, rename=lambda item: f"{99 - item}")
    order = np.random.default_rng(1).permutation(turned.n_items)
    turned = Dataset(
        "turned", turned.users, turned.items.iloc[order].reset_index(drop=True), turned.interactions
    )
    result, two = SPLITS[name](data), SPLITS[name](turned)
    old = dict(zip([f"{99 - i}" for i in range(30)], data.items["item_id"], strict=True))
    first, second = result.requests(), two.requests()
    assert first.user_ids == second.user_ids
    assert first.histories == [[old[item] for item in history] for history in second.histories]
    assert first.targets == [[old[item] for item in targets] for targets in second.targets]
    scores = np.random.default_rng(2).integers(0, 6, (len(first), 30)).astype(np.float32)
    scores[~candidate_mask(result, first, None, 0)] = -np.inf
    columns = data.item_numbers.get_indexer([old[item] for item in turned.items["item_id"]])
    a, b = ev.evaluate_scores(scores, result), ev.evaluate_scores(scores[:, columns], two)
    assert a.ranks.to_lists() == b.ranks.to_lists()


def masked_scores(split, model):
    requests = split.requests()
    scores = model.score(requests.histories).copy()
    scores[~candidate_mask(split, requests, None, 0)] = -np.inf
    return scores


@pytest.mark.parametrize("shape", ["matrix", "list of rows", "blocks", "list of blocks"])
def test_scores_made_elsewhere_give_the_same_figures(split, shape):
    model = Table(noisy(6)).fit(split.train)
    scores = masked_scores(split, model)
    inputs = {
        "matrix": scores,
        "list of rows": scores.tolist(),
        "blocks": (scores[s : s + 7] for s in range(0, len(scores), 7)),
        "list of blocks": [scores[:5], scores[5:]],
    }[shape]
    evaluations, own = ev.evaluate_scores(inputs, split, label="peer"), ev.evaluate(model, split)
    pd.testing.assert_frame_equal(evaluations.per_user, own.per_user)
    assert (evaluations.lists == own.lists).all()
    assert (evaluations.model, evaluations.protocol) == ("peer", own.protocol)
    again = ev.evaluate_scores(scores, split, candidates=ev.random_negatives(5, 1))
    pd.testing.assert_frame_equal(again.per_user, ev.evaluate(model, split, n_negatives=5, seed=1).per_user)


@pytest.mark.parametrize("name", SPLITS)
def test_lists_made_elsewhere_give_the_same_figures(name):
    """Scores without ties: a list keeps no trace of them."""
    split = SPLITS[name](world())
    model = Table().fit(split.train)
    own = ev.evaluate_many(model, split, ks=(1, 10), metrics=list(ev.METRICS))["whole catalogue"]
    ids = split.train.items["item_id"].to_numpy()
    lists = [ids[row[row >= 0]].tolist() for row in own.lists]
    evaluations = ev.evaluate_lists(lists, split, ks=(1, 10), metrics=list(ev.METRICS), label="peer")
    pd.testing.assert_frame_equal(evaluations.per_user, own.per_user)
    assert (evaluations.lists == own.lists).all()
    assert (evaluations.ranks.n_candidates == own.ranks.n_candidates).all()
    assert evaluations.protocol == own.protocol


def spoilt(value):
    def rule(histories, n):
        scores = np.tile(np.arange(n, dtype=float), (len(histories), 1))
        scores[2, 4] = value
        return scores

    return rule


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_a_model_at_fault_is_named_with_user_and_item(split, value, word):
    model = Table(spoilt(value)).fit(split.train)
    user = split.requests().user_ids[2]
    message_part = f"table.*{word}.*'{user}'.*'item-04'"
    with pytest.raises(InputError, match=message_part) as caught:
        ev.evaluate(model, split)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=f"table.*'{user}'.*'item-04'.*hard"):
        ev.evaluate_many(Table().fit(split.train), split, candidates=[ev.hard_negatives(3, model)])
    scores = masked_scores(split, Table().fit(split.train))
    scores[2, 4] = value
    with pytest.raises(InputError, match=f"peer.*{word}.*'{user}'.*'item-04'"):
        ev.evaluate_scores(scores, split, label="peer")


@pytest.mark.parametrize("shape", [(3, 4), (12,)])
def test_a_wrong_shape_is_refused_with_the_models_name(split, shape):
    model = Table().fit(split.train)
    model.score = lambda histories, instructions=None: np.zeros(shape)
    with pytest.raises(InputError, match=r"table.*shape"):
        ev.evaluate(model, split)


def test_a_score_for_a_seen_item_is_refused(split):
    scores = masked_scores(split, Table().fit(split.train))
    requests = split.requests()
    scores[3, split.train.item_columns([requests.histories[3][1]])] = 0.5
    item, user = requests.histories[3][1], requests.user_ids[3]
    with pytest.raises(InputError, match=f"peer.*'{item}'.*'{user}'.*history"):
        ev.evaluate_scores(scores, split, label="peer")
    with pytest.raises(InputError, match=f"peer.*'{item}'.*'{user}'.*history"):
        ev.evaluate_scores([scores[:2], scores[2:]], split, label="peer")


@pytest.mark.parametrize("cut", [np.s_[:-1], np.s_[:, :-1], np.s_[[*range(40), 0]]])
def test_scores_of_another_shape_are_refused(split, cut):
    scores = masked_scores(split, Table().fit(split.train))
    with pytest.raises(InputError, match="peer.*40 requests and 30 items"):
        ev.evaluate_scores(scores[cut], split, label="peer")


def test_lists_at_fault_are_named_with_user_and_item(split):
    requests = split.requests()
    own = ev.evaluate_many(Table().fit(split.train), split)["whole catalogue"]
    ids = split.train.items["item_id"].to_numpy()
    good = [ids[row].tolist() for row in own.lists]
    user = requests.user_ids[1]
    for position, item, words in [
        (4, "nothing", "not in the catalogue"),
        (4, good[1][0], "twice"),
        (4, requests.histories[1][0], "history"),
    ]:
        bad = [list(result) for result in good]
        bad[1][position] = item
        with pytest.raises(InputError, match=f"peer.*'{item}'.*'{user}'.*{words}"):
            ev.evaluate_lists(bad, split, label="peer")
    with pytest.raises(InputError, match="39 lists for 40"):
        ev.evaluate_lists(good[:-1], split)
    with pytest.raises(InputError, match="at most 10 items.*11"):
        ev.evaluate_lists(good, split, ks=(11,))
    short = [[], *good[1:]]
    assert ev.evaluate_lists(short, split).ranks.to_lists()[0] == [0]


def test_what_makes_no_sense_is_refused(split):
    model = Table().fit(split.train)
    with pytest.raises(InputError, match="two candidates are named '3 random negatives'"):
        ev.evaluate_many(model, split, candidates=[ev.random_negatives(3, 0), ev.random_negatives(3, 1)])
    with pytest.raises(InputError, match="candidates is an empty list"):
        ev.evaluate_many(model, split, candidates=[])
    with pytest.raises(InputError, match="only .* unseen items"):
        ev.evaluate_many(model, split, candidates=[ev.hard_negatives(29, model)])
    for bad in (-1, 1.5, True):
        with pytest.raises(InputError, match="n_negatives"):
            ev.random_negatives(bad)
    with pytest.raises(InputError, match="batch"):
        ev.evaluate(model, split, batch=0)


def test_a_model_of_another_catalogue_is_refused(split):
    turned = world(rename=lambda item: f"item-{29 - item:02d}")
    with pytest.raises(InputError, match="table was fitted on.*same items in the same order"):
        ev.evaluate(Table().fit(turned), split)
    with pytest.raises(InputError, match="same items in the same order"):
        ev.hard_negatives(2, Table().fit(turned)).mask(split, split.requests())
