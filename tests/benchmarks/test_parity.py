"""What a peer wrote in its own order is put into ours, request by request and item by item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.parity import from_training_alone, peer_lists, peer_scores
from instructrec.datasets.dataset import Dataset
from instructrec.evaluation import evaluate, evaluate_lists, evaluate_scores
from instructrec.models import create
from instructrec.split import Split, leave_last_out


def small() -> Split:
    rng = np.random.default_rng(3)
    events = [(user, item) for user in range(30) for item in rng.permutation(40)[: rng.integers(4, 12)] + 100]
    log = pd.DataFrame(events, columns=["user_id", "item_id"]).assign(rating=1.0)
    log["timestamp"] = np.arange(len(log))
    items = pd.DataFrame({"item_id": np.arange(100, 140), "title": "t", "categories": [()] * 40})
    return leave_last_out(Dataset("small", pd.DataFrame({"user_id": range(30)}), items, log))


def test_scores_in_another_order_give_the_same_figures(tmp_path: Path) -> None:
    split, rng = small(), np.random.default_rng(0)
    model = create("item-knn", k=5).fit(split.train)
    requests = split.requests("test")
    scores = np.array(model.score(requests.histories))
    for row, known in enumerate(requests.histories):
        scores[row, split.train.item_columns(known)] = -np.inf
    users, items = rng.permutation(len(requests)), rng.permutation(split.train.n_items)[:-2]
    np.savez(
        tmp_path / "peer.npz",
        users=np.array(requests.user_ids)[users].astype(str),
        items=split.train.items["item_id"].to_numpy()[items].astype(str),
        scores=scores[np.ix_(users, items)],
    )
    back = peer_scores(tmp_path / "peer.npz", split)
    np.testing.assert_array_equal(back[:, items], scores[:, items])
    missing = np.setdiff1d(np.arange(split.train.n_items), items)
    assert np.isneginf(back[:, missing]).all()
    evaluate_scores(back, split)


def test_lists_in_another_order_give_the_same_figures(tmp_path: Path) -> None:
    split = small()
    model = create("item-knn", k=5).fit(split.train)
    ours = evaluate(model, split)
    requests = split.requests("test")
    shown = [model.recommend(history)["item_id"].tolist() for history in requests.histories]
    rows = np.random.default_rng(1).permutation(len(requests))[1:]
    np.savez(
        tmp_path / "peer.npz",
        users=np.array([str(requests.user_ids[row]) for row in rows]),
        items=np.array([[str(item) for item in shown[row][:9]] + [""] for row in rows]),
    )
    lists = peer_lists(tmp_path / "peer.npz", split)
    left_out = (set(range(len(requests))) - set(rows.tolist())).pop()
    assert [len(one) for one in lists] == [0 if row == left_out else 9 for row in range(len(requests))]
    assert all(one == shown[row][:9] for row, one in enumerate(lists) if one)
    theirs = evaluate_lists(lists, split, ks=(5,))
    keep = np.arange(len(requests)) != left_out
    at_five = evaluate(model, split, ks=(5,)).per_user["HR@5"].to_numpy()
    # ours ranks wrong items first among equal scores, a list cannot say that items were equal
    assert (theirs.per_user["HR@5"].to_numpy()[keep] >= at_five[keep]).all()
    assert len(ours.per_user) == len(theirs.per_user)


def test_from_training_alone_does_not_read_the_validation_item() -> None:
    split = small()
    model = create("item-knn", k=5).fit(split.train)
    scores = from_training_alone(model, split)
    requests = split.requests("test")
    histories = split.train.histories()
    for row, (user, known) in enumerate(zip(requests.user_ids, requests.histories, strict=True)):
        seen = split.train.item_columns(known)
        assert np.isneginf(scores[row, seen]).all()
        expected = model.score([histories[user]])[0]
        free = np.setdiff1d(np.arange(split.train.n_items), seen)
        np.testing.assert_array_equal(scores[row, free], expected[free])
    assert not np.array_equal(scores, np.where(np.isneginf(scores), scores, model.score(requests.histories)))
