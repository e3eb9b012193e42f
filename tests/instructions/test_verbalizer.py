"""Words for categories, tastes, wishes and conditions."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest

from instructrec.datasets.dataset import Dataset
from instructrec.instructions import (
    parse,
)
from instructrec.instructions.category_words import category_names
from instructrec.instructions.verbalizer import Popularity, Verbalizer
from instructrec.wordings.lexicon import LANGUAGES, lexicon
from tests.instructions.samples import contains_title


def test_every_category_has_a_chinese_name_and_wishes(films: Dataset, goods: Dataset) -> None:
    for dataset in (films, goods):
        names = {name for row in dataset.items[dataset.category_field] for name in row}
        assert len(names) >= 12
        chinese = category_names(names, "zh", dataset)
        assert all("\u4e00" <= word[0] <= "\u9fff" for word in chinese.values())
        entries = lexicon()["categories"]
        for name in names - {"unknown"}:
            assert entries[name.casefold()]["wishes_en"], name
            assert entries[name.casefold()]["wishes_zh"], name


def test_a_wish_never_names_its_category() -> None:
    for name, entry in lexicon()["categories"].items():
        assert not any(contains_title(wish, name) for wish in entry["wishes_en"]), name
        assert not any(entry["zh"] in wish for wish in entry["wishes_zh"]), name


def test_a_taste_is_told_in_words() -> None:
    items = pd.DataFrame(
        {
            "item_id": [1, 2, 3, 4],
            "title": list("abcd"),
            "genres": [("Horror", "Comedy"), ("Horror",), ("Drama",), ("unknown",)],
            "year": [1981, 1984, 1995, np.nan],
            "price": [1.0, 2.0, 30.0, 40.0],
        }
    )
    events = pd.DataFrame({"user_id": [], "item_id": [], "timestamp": []}, dtype="int64")
    dataset = Dataset("four", items[["item_id"]].head(0), items, events, "genres")
    english, chinese = Verbalizer(dataset, "en"), Verbalizer(dataset, "zh")
    assert (
        english.taste([1, 2, 3]) == "above all Horror, Comedy and Drama, mostly from the 1980s, at low prices"
    )
    assert chinese.taste([1, 2]) == "偏爱恐怖、喜剧类，多为1980年代的，价格偏低"
    assert english.taste([4]) == "at high prices"
    assert english.taste([1, 2, 3], time=0) == english.taste(
        [1, 2, 3]
    )  # no event yet, nothing is known or not
    assert english.moment(0) == "Thursday night"
    assert chinese.moment(86_400 * 2 + 3_600 * 20) == "周六晚上"


def popular(n_users: int) -> Dataset:
    """Ten items of two genres; item 1 chosen by every user at second 100 x number, the rest by nobody."""
    items = pd.DataFrame(
        {
            "item_id": np.arange(1, 11),
            "title": [f"t{number}" for number in range(10)],
            "genres": [("Drama",)] * 8 + [("War",)] * 2,
        }
    )
    events = pd.DataFrame(
        {
            "user_id": np.arange(n_users),
            "item_id": 1,
            "rating": np.nan,
            "timestamp": 100 * np.arange(n_users),
        }
    )
    return Dataset("popular", events[["user_id"]], items, events, "genres")


def test_popularity_is_that_of_the_moment() -> None:
    annotator = Verbalizer(popular(50), "en")
    assert "mostly well-known films" in annotator.taste([1], time=1000)
    assert "often little-known films" in annotator.taste([2], time=1000)
    assert "known" not in annotator.taste([1], time=0)  # before the first event
    counted = Popularity(popular(50))
    assert counted.count(1, 1000) == 10  # the event at that second itself does not count
    assert counted.average(1000) == 1.0


def test_what_a_long_history_lacks_is_avoided() -> None:
    annotator = Verbalizer(popular(1), "en")
    # 80% of the catalogue is Drama: two items without it happen by chance with .04, one with .2
    assert annotator.taste([9, 10]) == "above all War, never Drama"
    assert annotator.taste([9]) == "above all War"
    # War is a fifth: .8^10 = .107 is not below .1, .8^11 is
    assert "never" not in annotator.taste([1] * 10)
    assert annotator.taste([1] * 11).endswith("never War")


@pytest.mark.parametrize("name", ["films", "goods"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_condition_is_read_back_and_admits_its_item(
    name: str, language: str, request: pytest.FixtureRequest
) -> None:
    dataset: Dataset = request.getfixturevalue(name)
    annotator = Verbalizer(dataset, language)
    draw = random.Random(1).random
    seen = set()
    for row, item in enumerate(dataset.items["item_id"].tolist()):
        if annotator.categories[item]:
            labels = annotator.categories[item]
            text = annotator.condition(labels, annotator.years.get(item), annotator.prices.get(item), draw)
            constraint = parse(text, dataset)
            assert constraint.mask(dataset.items)[row], (text, str(constraint))
            assert not constraint.describe()["ignored"], (text, constraint.describe())
            seen.add(text)
    assert len(seen) > 100
