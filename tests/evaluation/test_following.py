"""Instruction following: the measures by hand, what each task asks, and models whose figures are known before."""

import re

import numpy as np
import pandas as pd
import pytest

from instructrec import datasets, models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.evaluation.following import compare_following, evaluate_following
from instructrec.evaluation.following_tasks import EXTRA_TASKS, TASKS, make_following_tasks
from instructrec.instructions import load_templates, parse
from instructrec.instructions.category_words import domain_words
from instructrec.models import FilteredRecommender
from instructrec.models.base import Recommender
from instructrec.models.neural.three_tower import tokenise, wordings
from instructrec.split import leave_last_out, split_global_time
from instructrec.wordings import FOLDER as WORDING_FILES
from instructrec.wordings import read_wordings
from instructrec.wordings.lexicon import held_out_words

FRAMES = read_wordings("request_frames")
HIDDEN = -np.inf
UNDERSTOOD = [
    "stated",
    "unseen wording",
    "other words",
    "shuffled",
    "contradicting",
    "negated",
    "constraints",
]
LANGUAGES = [("en",), ("zh",), ("en", "zh")]


class Scorer(Recommender):
    """Answers by a function of the request's number, history and text; for tests."""

    name = "scorer"
    follows_instructions = True

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def _fit(self, dataset):
        pass

    def _score(self, histories, instructions):
        return np.stack([self.answer(self.dataset, text) for text in instructions])

    def _arrays(self):
        return {}

    def _restore(self, arrays):
        pass


def parrot(dataset, text):
    """Show what is named, refused or not: what a model does that has learnt words and no negation."""
    named = np.zeros(dataset.n_items)
    if text:
        understood = str(parse(text, dataset))
        for name in re.findall(r'"(.*?)"', understood):
            named += [name in listed for listed in dataset.items[dataset.category_field]]
    return named


@pytest.fixture(scope="module")
def shop():
    return leave_last_out(datasets.shop())


@pytest.fixture(scope="module")
def films():
    return leave_last_out(datasets.movielens_100k())


@pytest.fixture(scope="module")
def fitted(shop, films):
    found = {}
    for split in (shop, films):
        popular = models.create("most-popular").fit(split.train)
        found[split.train.name] = (popular, FilteredRecommender(popular))
    return found


@pytest.fixture
def tiny() -> Dataset:
    items = pd.DataFrame(
        {
            "item_id": list("abcdef"),
            "title": [f"Title {name}" for name in "abcdef"],
            "genres": [("Comedy",), ("Drama",), ("Comedy", "Drama"), ("War",), (), ("War",)],
            "year": pd.array([1991, 1992, 1985, None, 1990, 1999], dtype="Int64"),
        }
    )
    events = [
        ("u", "a"),
        ("u", "b"),
        ("u", "c"),
        ("v", "a"),
        ("v", "b"),
        ("v", "d"),
        ("w", "a"),
        ("w", "f"),
        ("w", "e"),
    ]
    interactions = pd.DataFrame(events, columns=["user_id", "item_id"]).assign(
        rating=5.0, timestamp=np.arange(len(events), dtype=np.int64)
    )
    return Dataset("tiny", pd.DataFrame({"user_id": list("uvw")}), items, interactions, "genres")


# -- the measures ---------------------------------------------------------------------------------------------------


def test_the_figures_of_a_tiny_catalogue_by_hand(tiny):
    # u wants c (Comedy or Drama) after a, b; v wants d (War) after a, b; w's target has no category and is left out
    split = leave_last_out(tiny)
    model = Scorer(
        lambda dataset, text: np.array([9.0, 8, 1, 2, 3, 4]) if text is None else parrot(dataset, text)
    )
    found = evaluate_following(model.fit(split.train), split, k=2, tasks=["stated", "negated"])
    assert found.tasks == ["none", "stated", "negated"]
    assert list(found.per_request["user_id"]) == ["u", "v"] * 3
    # unasked, f (War) and e (no genre) lead: u's wish is met at no place of two, v's at one
    np.testing.assert_allclose(found.values("satisfaction@2", "none"), [0, 0.5])
    # u's stated wish: c alone is unseen and named, the other place goes to the first of the rest, d; v's: d and f
    np.testing.assert_allclose(found.values("satisfaction@2", "stated"), [0.5, 1])
    np.testing.assert_allclose(found.values("possible@2", "stated"), [0.5, 1])
    np.testing.assert_allclose(found.values("HR@2", "none"), [0, 0])
    np.testing.assert_allclose(found.values("HR@2", "stated"), [1, 1])
    np.testing.assert_allclose(
        found.values("NDCG@2", "stated"), [1, 1 / np.log2(3)]
    )  # of d and f, ties go against d
    assert found.difference("satisfaction@2", "stated").mean == pytest.approx(0.5)
    assert np.isnan(found.values("violation@2", "stated")).all()
    # u lacks only War: the parrot shows d and f. v's history holds Comedy and Drama: the parrot shows c and one other
    np.testing.assert_allclose(found.values("violation@2", "negated"), [1, 0.5])
    np.testing.assert_allclose(found.values("violation@2", "negated", lists_of="none"), [0.5, 0])
    np.testing.assert_allclose(found.values("satisfaction@2", "negated"), [0, 0.5])
    assert found.difference("violation@2", "negated").mean == pytest.approx(0.5)


# -- models whose figures are known before --------------------------------------------------------------------------


@pytest.mark.parametrize("languages", LANGUAGES)
@pytest.mark.parametrize("name", ["shop", "films"])
def test_a_model_that_does_not_read_changes_nothing(name, languages, request, fitted):
    split = request.getfixturevalue(name)
    found = evaluate_following(fitted[split.train.name][0], split, languages=languages, n_requests=40)
    assert found.tasks == list(TASKS)
    for task in found.tasks[1:]:
        for metric in ("satisfaction@10", "HR@10", "NDCG@10"):
            assert found.difference(metric, task) == (0, 0, 0)
            assert found.difference(metric, task, base="shuffled") == (0, 0, 0)
    assert found.difference("violation@10", "negated") == (0, 0, 0)
    # and yet it meets some wishes by chance, so that zero is no accident of empty figures
    assert 0 < found.interval("satisfaction@10", "none").mean < 1


@pytest.mark.parametrize("languages", LANGUAGES)
@pytest.mark.parametrize("name", ["shop", "films"])
def test_a_filter_reaches_what_is_possible_where_it_understands(name, languages, request, fitted):
    split = request.getfixturevalue(name)
    found = evaluate_following(fitted[split.train.name][1], split, languages=languages, n_requests=100)
    for task in UNDERSTOOD:
        np.testing.assert_array_equal(
            found.values("satisfaction@10", task), found.values("possible@10", task)
        )
    for task in ("contradicting", "negated"):
        assert found.interval("violation@10", task).mean == 0
        assert found.difference("violation@10", task).high < 0
    assert found.interval("HR@10", "contradicting").mean == 0
    assert found.difference("NDCG@10", "stated").low > 0
    assert found.difference("NDCG@10", "shuffled").mean < found.difference("NDCG@10", "stated").mean
    # wordings that the rules do not know: a wish is not met more than by chance, a refusal is turned round
    assert abs(found.difference("satisfaction@10", "vague wish").mean) < 0.1
    assert found.difference("satisfaction@10", "vague wish", base="stated").high < -0.3
    assert found.interval("violation@10", "unseen negation").mean > 0.9
    assert found.difference("violation@10", "unseen negation", base="negated").low > 0.9


def test_words_without_negation_raise_violation(films):
    found = evaluate_following(Scorer(parrot).fit(films.train), films, n_requests=40)
    assert found.interval("satisfaction@10", "stated").mean == 1
    assert found.difference("violation@10", "negated").low > 0.5
    assert found.difference("satisfaction@10", "negated").high < -0.5


# -- what is asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["shop", "films"])
def test_the_truth_is_what_the_texts_say_and_the_target_keeps_to_it(name, language, request):
    split = request.getfixturevalue(name)
    requests = split.requests("test")
    made = make_following_tasks(split, languages=[language], n_requests=40, seed=3)
    targets = split.train.item_columns([requests.targets[row][0] for row in made.rows])
    read = {}
    for task in UNDERSTOOD:
        asked = made.tasks[task]
        for text, which, target in zip(asked.texts, asked.wish.mask_of_request, targets, strict=True):
            mask = asked.wish.masks[which]
            if text not in read:
                read[text] = parse(text, split.train).mask(split.train.items)
            np.testing.assert_array_equal(mask, read[text], err_msg=text)
            if task != "shuffled":
                assert mask[target] == (task != "contradicting"), text
    for task in ("contradicting", "negated", "unseen negation"):
        asked = made.tasks[task]
        np.testing.assert_array_equal(asked.wish.mask_of_request, asked.forbidden.mask_of_request)
        np.testing.assert_array_equal(asked.wish.masks, ~asked.forbidden.masks)
    np.testing.assert_array_equal(
        made.tasks["negated"].forbidden.mask_of_request,
        made.tasks["unseen negation"].forbidden.mask_of_request,
    )
    columns = {"films": ["genres", "year", "popularity"], "shop": ["categories", "price", "popularity"]}
    text = max(made.tasks["constraints"].texts, key=len)
    assert [clause.split()[0] for clause in text.split(" and ")] == columns[name]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["shop", "films"])
def test_unseen_words_are_unseen(name, language, request):
    split = request.getfixturevalue(name)
    made = make_following_tasks(split, languages=[language], n_requests=200)
    trained = {text for texts in wordings(split.train).values() for text in texts}
    assert set(made.tasks["stated"].texts) <= trained
    for task in ("unseen wording", "other words", "vague wish"):
        assert not set(made.tasks[task].texts) & trained
    held = [text for one in load_templates(language) if one.held_out for text in one.variants]
    kept = [text for one in load_templates(language) if not one.held_out for text in one.variants]
    pieces = lambda texts: {  # noqa: E731
        piece.strip() for text in texts for piece in re.split(r"{{.*?}}", text) if len(piece.strip()) > 3
    }
    for task in ("unseen wording", "vague wish"):
        for text in made.tasks[task].texts:
            assert any(piece in text for piece in pieces(held) - pieces(kept)), text
    names = {name for listed in split.train.items[split.train.category_field] for name in listed}
    for text in made.tasks["vague wish"].texts:
        assert not any(re.search(rf"\b{name}\b", text) for name in names), text
    for text, which in zip(
        made.tasks["other words"].texts, made.tasks["stated"].wish.mask_of_request, strict=True
    ):
        own = sorted(name for name in names if name != "unknown")[which]
        assert not re.search(rf"\b{own}\b", text, re.IGNORECASE), text
    for text in made.tasks["unseen negation"].texts:
        assert any(text.endswith(idiom.split("}")[1]) for idiom in FRAMES["unseen_refusal"][language])


def test_a_shuffled_text_is_another_request_s(shop):
    made = make_following_tasks(shop, tasks=["stated", "shuffled"], n_requests=2, seed=4)
    assert made.tasks["shuffled"].texts == made.tasks["stated"].texts[::-1]
    made = make_following_tasks(shop, tasks=["stated", "shuffled"], n_requests=50)
    assert sorted(made.tasks["shuffled"].texts) == sorted(made.tasks["stated"].texts)
    same = made.tasks["shuffled"].wish.mask_of_request == made.tasks["stated"].wish.mask_of_request
    assert same.mean() < 0.3


def test_draws_depend_on_the_seed_alone(shop):
    def texts(task, **options):
        made = make_following_tasks(shop, tasks=[task], **options)
        return dict(zip(made.rows.tolist(), made.tasks[task].texts, strict=True))

    for task in set(TASKS) - {"none", "shuffled"}:
        whole = texts(task)
        assert whole == texts(task)
        few = texts(task, n_requests=30)
        assert len(few) == 30
        assert few.items() <= whole.items()
        if task != "constraints":  # of a target with one category there is but one to say
            assert whole != texts(task, seed=1)


def test_languages_name_the_same_categories_and_both_are_drawn(shop, fitted):
    filtered = fitted["shop"][1]
    english, chinese = (
        evaluate_following(filtered, shop, tasks=["stated"], languages=[one], n_requests=50)
        for one in ("en", "zh")
    )
    np.testing.assert_array_equal(english.values("HR@10", "stated"), chinese.values("HR@10", "stated"))
    both = make_following_tasks(shop, tasks=["stated"], languages=["en", "zh"], n_requests=50).tasks["stated"]
    in_english = sum(text.isascii() for text in both.texts)
    assert 10 < in_english < 40


def test_refusals_are_drawn_from_the_history(films):
    requests = films.requests("test")
    made = make_following_tasks(films, tasks=["negated"])
    items = films.train.items.set_index("item_id")["genres"]
    names = sorted({name for listed in items for name in listed} - {"unknown"})
    for row, which in zip(made.rows, made.tasks["negated"].forbidden.mask_of_request, strict=True):
        assert names[which] not in items[requests.targets[row][0]]
        assert any(names[which] in items[item] for item in requests.histories[row])


def test_a_missing_number_is_left_out_of_the_constraints(tiny):
    made = make_following_tasks(leave_last_out(tiny), tasks=["constraints"])
    first, second = made.tasks["constraints"].texts
    assert "year in 1980..1989" in first
    assert (
        second == 'genres = "War"'
    )  # the median popularity is the lowest, so that its upper half says nothing


def test_several_targets_and_a_later_moment(films, fitted):
    split = split_global_time(datasets.movielens_100k())
    model = models.create("most-popular").fit(split.train)
    found = evaluate_following(FilteredRecommender(model), split, k=3, tasks=["negated", "stated"])
    assert found.protocol == "global-time, test, whole catalogue, en"
    assert found.interval("violation@3", "negated").mean == 0
    np.testing.assert_array_equal(
        found.values("satisfaction@3", "stated"), found.values("possible@3", "stated")
    )


# -- what is asked by name alone ------------------------------------------------------------------------------------


def patterns_of(frames, dataset, language):
    """Return a pattern for the texts of each frame in a language; its groups are what the frame is filled with."""
    filled = dict.fromkeys(("category", "decade", "word"), "#") | domain_words(dataset, language)
    return [
        re.compile(re.escape(frame.format(**filled)).replace(r"\#", "(.+)")) for frame in frames[language]
    ]


def test_more_conditions_are_asked_by_name_alone_and_change_no_other(films):
    assert not set(EXTRA_TASKS) & set(TASKS)
    usual = make_following_tasks(films, languages=["en", "zh"], n_requests=30).tasks
    assert list(usual) == list(TASKS)
    every = [*EXTRA_TASKS, *TASKS]
    asked = make_following_tasks(films, tasks=every, languages=["en", "zh"], n_requests=30).tasks
    assert list(asked) == ["none", *EXTRA_TASKS, *(name for name in TASKS if name != "none")]
    for name, one in usual.items():
        assert asked[name].texts == one.texts
        np.testing.assert_array_equal(asked[name].wish.mask_of_request, one.wish.mask_of_request)
    with pytest.raises(InputError, match="did you mean title word.*accepted: none, .*, new words$"):
        make_following_tasks(films, tasks=["title words"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_more_draws_depend_on_the_seed_alone(language, films):
    def texts(task, **options):
        made = make_following_tasks(films, tasks=[task], languages=[language], **options)
        return dict(zip(made.rows.tolist(), made.tasks[task].texts, strict=True))

    for task in set(EXTRA_TASKS) - ({"new words"} if language == "zh" else set()):
        whole = texts(task)
        assert whole == texts(task)
        assert texts(task, n_requests=30).items() <= whole.items()
        assert whole != texts(task, seed=1)


def test_a_category_and_its_era_by_hand(tiny):
    # u wants c (Comedy and Drama, 1985); of v's target, d, no year is known; a, of 1991, is of another decade
    split = leave_last_out(tiny)
    asked = make_following_tasks(split, tasks=["category and era"]).tasks["category and era"]
    assert "1980s" in asked.texts[0]
    assert asked.texts[1] is None
    assert list(asked.wish.mask_of_request) == [0, -1]
    assert asked.wish.masks.tolist() == [[item == "c" for item in "abcdef"]]
    assert "Comedy" in asked.texts[0] or "Drama" in asked.texts[0]
    # the model shows c where it reads of the 1980s, then f
    model = Scorer(lambda dataset, text: np.array([0.0, 0, 5 if text and "1980s" in text else 1, 2, 3, 4]))
    found = evaluate_following(model.fit(split.train), split, k=2, tasks=["category and era"])
    assert found.values("satisfaction@2", "category and era")[0] == 0.5
    assert found.values("satisfaction@2", "category and era", lists_of="none")[0] == 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_category_and_era_are_what_the_text_says(language, films, fitted):
    options = {"tasks": ["stated", "category and era"], "languages": [language], "n_requests": 100}
    made = make_following_tasks(films, **options)
    asked, items = made.tasks["category and era"], films.train.items
    requests = films.requests("test")
    targets = films.train.item_columns([requests.targets[row][0] for row in made.rows])
    patterns, used = patterns_of(FRAMES["category_era"], films.train, language), set()
    for number, text in enumerate(asked.texts):
        if text is None:
            assert np.isnan(items["year"].astype(float).iloc[targets[number]])
            continue
        mask = asked.wish.masks[asked.wish.mask_of_request[number]]
        assert mask[targets[number]]
        np.testing.assert_array_equal(mask, parse(text, films.train).mask(items), err_msg=text)
        stated = made.tasks["stated"].wish
        category = stated.masks[stated.mask_of_request[number]]
        decade = int(re.search(r"\d{4}", text)[0])
        years = items["year"].astype(float).to_numpy()
        np.testing.assert_array_equal(mask, category & (years >= decade) & (years < decade + 10))
        used.update(number for number, pattern in enumerate(patterns) if pattern.fullmatch(text))
    assert used == {0, 1, 2}
    popular, filtered = (evaluate_following(model, films, **options) for model in fitted["movielens-100k"])
    assert popular.difference("satisfaction@10", "category and era") == (0, 0, 0)
    np.testing.assert_array_equal(
        filtered.values("satisfaction@10", "category and era"),
        filtered.values("possible@10", "category and era"),
    )
    assert filtered.difference("HR@10", "category and era").low > 0


def test_without_years_no_era_is_stated(shop):
    with pytest.raises(InputError, match="'category and era' can be stated of no request of shop in en"):
        make_following_tasks(shop, tasks=["category and era"])


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["shop", "films"])
def test_a_title_word_is_of_the_target_s_title(name, language, request):
    split = request.getfixturevalue(name)
    made = make_following_tasks(split, tasks=["title word"], languages=[language], n_requests=100)
    asked, requests = made.tasks["title word"], split.requests("test")
    titles = split.train.items["title"].str.lower().tolist()
    targets = split.train.item_columns([requests.targets[row][0] for row in made.rows])
    patterns = patterns_of(FRAMES["title_word"], split.train, language)
    used = set()
    assert asked.wish.stated.sum() > 80
    for text, which, target in zip(asked.texts, asked.wish.mask_of_request, targets, strict=True):
        assert (text is None) == (which < 0)
        if text is None:
            continue
        matched = [pattern.fullmatch(text) for pattern in patterns]
        word = next(found[1] for found in matched if found)
        used.update(number for number, found in enumerate(matched) if found)
        having = [re.search(rf"(?<![^\W\d_]){word}(?![^\W\d_])", title) is not None for title in titles]
        np.testing.assert_array_equal(asked.wish.masks[which], having, err_msg=text)
        assert having[target]
    assert used == {0, 1, 2}


def test_a_title_without_a_word_of_its_own_is_not_asked_for(tiny):
    items = tiny.items.assign(title=["Alien", "Up", "Alien 3", "It", "M", "The"])
    split = leave_last_out(Dataset("short", tiny.users, items, tiny.interactions, "genres"))
    asked = make_following_tasks(split, tasks=["title word"]).tasks["title word"]
    assert "alien" in asked.texts[0]
    assert asked.texts[1] is None
    assert list(asked.wish.mask_of_request) == [0, -1]
    assert asked.wish.masks.tolist() == [[True, False, True, False, False, False]]
    items = items.assign(title=["A", "Up", "I", "It", "M", "The"])
    split = leave_last_out(Dataset("mute", tiny.users, items, tiny.interactions, "genres"))
    with pytest.raises(InputError, match="'title word' can be stated of no request of mute in en"):
        make_following_tasks(split, tasks=["title word"])


def test_frames_of_more_conditions_are_no_frames_for_training():
    held = (WORDING_FILES / "query_frames.toml").read_text("utf-8")
    for language in ("en", "zh"):
        for frame in FRAMES["category_era"][language] + FRAMES["title_word"][language]:
            assert (
                f'"{frame.replace("{decade}s", "{decade}").replace("{decade}年代", "{decade}")}"' not in held
            )


@pytest.mark.parametrize(("part", "listed"), [("valid", "validation"), ("test", "test")])
def test_new_words_are_said_of_the_category_that_is_stated(part, listed, films):
    made = make_following_tasks(films, part, tasks=["stated", "new words"])
    stated, asked = made.tasks["stated"], made.tasks["new words"]
    names = sorted({name for names in films.train.items["genres"] for name in names} - {"unknown"})
    said = set()
    for plain, text, which, wish in zip(
        stated.texts, asked.texts, asked.wish.mask_of_request, stated.wish.mask_of_request, strict=True
    ):
        words = held_out_words().get(names[wish].lower(), {}).get(listed, [])
        assert (text is None) == (not words) == (which < 0)
        if text is not None:
            word = next(word for word in words if text == plain.replace(names[wish], word))
            said.add(word)
            assert which == wish
    np.testing.assert_array_equal(asked.wish.masks, stated.wish.masks)
    assert not asked.wish.stated.all()  # of Film-Noir nothing is said
    every = {word for lists in held_out_words().values() for word in lists[listed]}
    assert said <= every
    assert len(said) > 0.8 * len(every)


def test_new_words_are_not_said_in_chinese_or_of_goods(films, shop):
    both = make_following_tasks(films, tasks=["new words"], languages=["en", "zh"], n_requests=50)
    texts = [text for text in both.tasks["new words"].texts if text]
    assert 5 < len(texts) < 45
    assert all(text.isascii() for text in texts)
    with pytest.raises(InputError, match="'new words' can be stated of no request of movielens-100k in zh"):
        make_following_tasks(films, tasks=["new words"], languages=["zh"])
    with pytest.raises(InputError, match="'new words' can be stated of no request of shop in en"):
        make_following_tasks(shop, tasks=["new words"])


def test_new_words_are_new(films, shop):
    folder = WORDING_FILES
    sources = [folder / f"{name}.toml" for name in ("lexicon", "query_frames", "templates")]
    known = {token for path in sources for token in tokenise(path.read_text("utf-8"))}
    known |= {
        token for frames in FRAMES["category"].values() for frame in frames for token in tokenise(frame)
    }
    for split in (films, shop):
        items = split.train.items
        known |= {
            word for names in items[split.train.category_field] for name in names for word in tokenise(name)
        }
    known |= {word for title in films.train.items["title"] for word in tokenise(title)}
    assert {"soldiers", "comedy", "funny", "recommend", "toy"} <= known  # so the sources were read
    genres = {name.lower() for listed in films.train.items["genres"] for name in listed}
    listed = held_out_words()
    assert set(listed) == genres - {"unknown", "film-noir"}
    every = [word for lists in listed.values() for part in ("validation", "test") for word in lists[part]]
    assert len(every) == len(set(every))  # so the two lists of a genre, and the genres, share none
    for lists in listed.values():
        assert set(lists) == {"validation", "test"}
        assert min(len(words) for words in lists.values()) >= 2
        assert 3 <= sum(len(words) for words in lists.values()) <= 6
    for word in every:
        assert word == word.lower()
        assert word.isascii()
        assert not set(tokenise(word)) & known, word


# -- tables ---------------------------------------------------------------------------------------------------------


def test_tables_never_show_a_figure_without_its_interval(shop, fitted):
    found = [
        evaluate_following(
            model, shop, n_requests=30, tasks=["stated", "negated", "constraints"], label=label
        )
        for model, label in zip(fitted["shop"], ("popular", "filtered"), strict=True)
    ]
    tables = [
        found[1].table().drop(columns="requests"),
        compare_following(found, "satisfaction@10"),
        compare_following(found, "violation@10", base="none"),
    ]
    number = r"-?\d\.\d{3}"
    for table in tables:
        for cell in table.to_numpy().ravel():
            assert re.fullmatch(rf"{number} \[{number}, {number}\]|–", cell)
    assert list(tables[1].columns) == ["popular", "filtered"]
    assert tables[1].loc["stated", "filtered"] == found[1].table().loc["stated", "satisfaction@10"]
    assert "none" not in tables[2].index
    assert tables[2].loc["stated", "filtered"] == "–"
    assert (found[1].table()["requests"] == 30).all()


# -- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": True}, "k is True"),
        ({"tasks": ["statd"]}, "did you mean stated"),
        ({"languages": ["fr"]}, "unknown language 'fr'"),
        ({"languages": "en"}, "languages is 'en'"),
        ({"languages": []}, "languages is"),
        ({"n_requests": 0}, "n_requests is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"part": "train"}, "part of a split"),
        ({"tasks": ["shuffled"], "n_requests": 1}, "'shuffled' can be stated of no request"),
    ],
)
def test_wrong_questions_are_refused(options, message, shop, fitted):
    with pytest.raises(InputError, match=message) as caught:
        evaluate_following(fitted["shop"][0], shop, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_scores_that_are_none_name_model_user_and_item(fault, shop):
    def answer(dataset, text):
        scores = np.zeros(dataset.n_items)
        scores[3] = fault if text else 0
        return scores

    model = Scorer(answer).fit(shop.train)
    item = shop.train.items["item_id"].iloc[3]
    with pytest.raises(InputError, match=rf"model broken gave user .* score {fault} for item .*{item}"):
        evaluate_following(model, shop, tasks=["stated"], n_requests=3, label="broken")


def test_another_catalogue_is_refused(shop):
    other = shop.train.items.iloc[::-1].reset_index(drop=True)
    turned = Dataset("turned", shop.train.users, other, shop.train.interactions, "categories")
    with pytest.raises(InputError, match="another catalogue"):
        evaluate_following(models.create("most-popular").fit(turned), shop, n_requests=3)


def test_data_without_categories_are_refused(tiny):
    items = tiny.items.assign(genres=[()] * 6)
    split = leave_last_out(Dataset("bare", tiny.users, items, tiny.interactions, "genres"))
    with pytest.raises(InputError, match="no target with a category in 'genres'"):
        evaluate_following(models.create("most-popular").fit(split.train), split)


def test_what_cannot_be_stated_is_left_out_unless_asked_for(tiny):
    items = tiny.items.assign(genres=[("Zither",)] * 6)
    split = leave_last_out(Dataset("one", tiny.users, items, tiny.interactions, "genres"))
    model = models.create("most-popular").fit(split.train)
    assert evaluate_following(model, split, k=2).tasks == [
        *("none", "stated", "unseen wording", "vague wish", "shuffled", "contradicting", "constraints")
    ]
    for task in ("other words", "negated"):
        with pytest.raises(InputError, match=f"'{task}' can be stated of no request of one in en"):
            evaluate_following(model, split, k=2, tasks=[task])


def test_comparisons_of_different_questions_are_refused(shop, fitted):
    popular = fitted["shop"][0]
    first = evaluate_following(popular, shop, n_requests=5, tasks=["stated"])
    other = evaluate_following(popular, shop, n_requests=5, tasks=["stated"], seed=1, label="other")
    for wrong, message in (
        ([], "empty list"),
        ([first, other], "not asked the same"),
        ([first, first], "named"),
    ):
        with pytest.raises(InputError, match=message):
            compare_following(wrong, "HR@10")
    with pytest.raises(InputError, match="unknown metric 'HR@5'"):
        compare_following([first], "HR@5")
    with pytest.raises(InputError, match="unknown task 'negated'"):
        first.difference("HR@10", "negated")
