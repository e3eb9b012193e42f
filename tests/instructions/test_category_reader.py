"""Categories found in sentences, and phrases found as whole words."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.quality.category_reader import CategoryReader
from instructrec.instructions.quality.text_search import occurs_in, trie_pattern, without_first
from tests.instructions.test_audit import small


@pytest.fixture(scope="module")
def data() -> Dataset:
    return small()


@pytest.mark.parametrize(
    ("text", "desired", "avoided", "decades"),
    [
        ("above all Comedy and Crime, mostly from the 1980s", "Comedy Crime", "", [1980]),
        ("never Romance, Horror or Action", "", "Romance Horror Action", []),
        ("rarely watches horror but loves westerns and comedies", "Comedy", "Horror", []),
        ("does not like horror; enjoys crime", "Crime", "Horror", []),
        ("likes funny films from the 90s", "Comedy", "", [1990]),
        ("不喜欢恐怖片，爱看喜剧和90年代的犯罪片", "Comedy Crime", "Horror", [1990]),
        ("偏爱喜剧，恐怖片看得很少，动作片常看", "Comedy Action", "Horror", []),
        ("从不碰动作、爱情类", "", "Action Romance", []),
        ("科幻 and Sci-Fi, 恐怖", "Sci-Fi Horror", "", []),
        ("a little Comedy for a change", "Comedy", "", []),
        ("not only Comedy", "Comedy", "", []),
        ("tragicomedy, dramatist", "", "", []),
        ("", "", "", []),
    ],
)
def test_categories_are_read_off_a_sentence(
    data: Dataset, text: str, desired: str, avoided: str, decades: list[int]
) -> None:
    mentions = CategoryReader(data).read(text)
    assert mentions.desired == set(desired.split())
    assert mentions.avoided == set(avoided.split())
    assert mentions.decades == set(decades)


def test_only_other_words_for_a_category_count_as_a_wish(data: Dataset) -> None:
    reader, names = CategoryReader(data), CategoryReader(data, synonyms=False, wishes=False)
    assert reader.read("a good laugh after a long week") == (
        frozenset({"Comedy"}),
        frozenset(),
        frozenset(),
        True,
    )
    assert reader.read("scary").paraphrased
    assert not reader.read("comedy, 恐怖").paraphrased
    assert names.read("scary, a good laugh after a long week").desired == set()
    assert (
        CategoryReader(replace(data, items=data.items[["item_id", "title"]])).read("comedy").desired == set()
    )


@given(st.lists(st.text(alphabet="ab恐 .*", min_size=1, max_size=6), min_size=1), st.data())
def test_a_trie_matches_the_longest_word(words: list[str], chosen: st.DataObject) -> None:
    text = chosen.draw(st.sampled_from(words)) + chosen.draw(st.text(alphabet="ab恐 .*", max_size=4))
    match = re.match(trie_pattern(words), text)
    assert match is not None
    assert match[0] == max((word for word in words if text.startswith(word)), key=len)


def test_words_stand_in_a_text_as_words() -> None:
    assert occurs_in("heat", "the heat is on")
    assert not occurs_in("heat", "at the theatre, preheated, héat")
    assert occurs_in("heat", "看heat吧")
    assert occurs_in("盗火线", "看盗火线吧")
    assert without_first("heat and heat", "heat") == "\n and heat"
    assert without_first("theatre", "heat") == "theatre"
