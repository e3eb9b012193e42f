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
    is_named = np.zeros(dataset.n_items)
    if text:
        understood = str(parse(text, dataset))
        for name in re.findall(r'"(.*?)"', understood):
            is_named += [
                name in categories_of_item for categories_of_item in dataset.items[dataset.category_field]
            ]
    return is_named


@pytest.fixture(scope="module")
def shop():
    return leave_last_out(datasets.shop())


@pytest.fixture(scope="module")
def films():
    return leave_last_out(datasets.movielens_100k())


@pytest.fixture(scope="module")
def fitted(shop, films):
    result = {}
    for split in (shop, films):
        popular = models.create("most-popular").fit(split.train)
        result[split.train.name] = (popular, FilteredRecommender(popular))
    return result


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
    # u wants c (Comedy or Drama) after a, b; v wants d (War) after a, b; w's target has no category and is excluded
    split = leave_last_out(tiny)
    model = Scorer(
        lambda dataset, text: np.array([9.0, 8, 1, 2, 3, 4]) if text is None else parrot(dataset, text)
    )
    result = evaluate_following(model.fit(split.train), split, k=2, tasks=["stated", "negated"])
    assert result.tasks == ["none", "stated", "negated"]
    assert list(result.per_request["user_id"]) == ["u", "v"] * 3
    # unasked, f (War) and e (no genre) lead: no position of two satisfies u's wish, one satisfies v's
    np.testing.assert_allclose(result.values("satisfaction@2", "none"), [0, 0.5])
    # u's stated wish: c alone is unseen and named, the other position goes to the first of the rest, d; v's: d and f
    np.testing.assert_allclose(result.values("satisfaction@2", "stated"), [0.5, 1])
    np.testing.assert_allclose(result.values("possible@2", "stated"), [0.5, 1])
    np.testing.assert_allclose(result.values("HR@2", "none"), [0, 0])
    np.testing.assert_allclose(result.values("HR@2", "stated"), [1, 1])
    np.testing.assert_allclose(
        result.values("NDCG@2", "stated"), [1, 1 / np.log2(3)]
    )  # of d and f, ties go against d
    assert result.difference("satisfaction@2", "stated").mean == pytest.approx(0.5)
    assert np.isnan(result.values("violation@2", "stated")).all()
    # u lacks only War: the parrot shows d and f. v's history holds Comedy and Drama: the parrot shows c and one other
    np.testing.assert_allclose(result.values("violation@2", "negated"), [1, 0.5])
    np.testing.assert_allclose(result.values("violation@2", "negated", lists_of="none"), [0.5, 0])
    np.testing.assert_allclose(result.values("satisfaction@2", "negated"), [0, 0.5])
    assert result.difference("violation@2", "negated").mean == pytest.approx(0.5)


# -- models whose figures are known before --------------------------------------------------------------------------


@pytest.mark.parametrize("languages", LANGUAGES)
@pytest.mark.parametrize("name", ["shop", "films"])
def test_a_model_that_does_not_read_changes_nothing(name, languages, request, fitted):
    split = request.getfixturevalue(name)
    result = evaluate_following(fitted[split.train.name][0], split, languages=languages, n_requests=40)
    assert result.tasks == list(TASKS)
    for task in result.tasks[1:]:
        for metric in ("satisfaction@10", "HR@10", "NDCG@10"):
            assert result.difference(metric, task) == (0, 0, 0)
            assert result.difference(metric, task, base="shuffled") == (0, 0, 0)
    assert result.difference("violation@10", "negated") == (0, 0, 0)
    # and yet it meets some wishes by chance, so that zero is no accident of empty figures
    assert 0 < result.interval("satisfaction@10", "none").mean < 1


@pytest.mark.parametrize("languages", LANGUAGES)
@pytest.mark.parametrize("name", ["shop", "films"])
def test_a_filter_reaches_what_is_possible_where_it_understands(name, languages, request, fitted):
    split = request.getfixturevalue(name)
    result = evaluate_following(fitted[split.train.name][1], split, languages=languages, n_requests=100)
    for task in UNDERSTOOD:
        np.testing.assert_array_equal(
            result.values("satisfaction@10", task), result.values("possible@10", task)
        )
    for task in ("contradicting", "negated"):
        assert result.interval("violation@10", task).mean == 0
        assert result.difference("violation@10", task).high < 0
    assert result.interval("HR@10", "contradicting").mean == 0
    assert result.difference("NDCG@10", "stated").low > 0
    assert result.difference("NDCG@10", "shuffled").mean < result.difference("NDCG@10", "stated").mean
    # wordings that the rules do not know: a wish is not met more than by chance, a refusal is turned round
    assert abs(result.difference("satisfaction@10", "vague wish").mean) < 0.1
    assert result.difference("satisfaction@10", "vague wish", base="stated").high < -0.3
    assert result.interval("violation@10", "unseen negation").mean > 0.9
    assert result.difference("violation@10", "unseen negation", base="negated").low > 0.9


def test_words_without_negation_raise_violation(films):
    result = evaluate_following(Scorer(parrot).fit(films.train), films, n_requests=40)
    assert result.interval("satisfaction@10", "stated").mean == 1
    assert result.difference("violation@10", "negated").low > 0.5
    assert result.difference("satisfaction@10", "negated").high < -0.5


# -- what is asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["shop", "films"])
def test_the_truth_is_what_the_texts_say_and_the_target_keeps_to_it(name, language, request):
    split = request.getfixturevalue(name)
    requests = split.requests("test")
    prepared = make_following_tasks(split, languages=[language], n_requests=40, seed=3)
    targets = split.train.item_columns([requests.targets[row][0] for row in prepared.rows])
    read = {}
    for task in UNDERSTOOD:
        asked_task = prepared.tasks[task]
        for text, mask_number, target in zip(
            asked_task.texts, asked_task.wish.mask_of_request, targets, strict=True
        ):
            mask = asked_task.wish.masks[mask_number]
            if text not in read:
                read[text] = parse(text, split.train).mask(split.train.items)
            np.testing.assert_array_equal(mask, read[text], err_msg=text)
            if task != "shuffled":
                assert mask[target] == (task != "contradicting"), text
    for task in ("contradicting", "negated", "unseen negation"):
        asked_task = prepared.tasks[task]
        np.testing.assert_array_equal(asked_task.wish.mask_of_request, asked_task.forbidden.mask_of_request)
        np.testing.assert_array_equal(asked_task.wish.masks, ~asked_task.forbidden.masks)
    np.testing.assert_array_equal(
        prepared.tasks["negated"].forbidden.mask_of_request,
        prepared.tasks["unseen negation"].forbidden.mask_of_request,
    )
    columns = {"films": ["genres", "year", "popularity"], "shop": ["categories", "price", "popularity"]}
    text = max(prepared.tasks["constraints"].texts, key=len)
    assert [clause.split()[0] for clause in text.split(" and ")] == columns[name]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["shop", "films"])
def test_unseen_words_are_unseen(name, language, request):
    split = request.getfixturevalue(name)
    prepared = make_following_tasks(split, languages=[language], n_requests=200)
    trained = {text for texts in wordings(split.train).values() for text in texts}
    assert set(prepared.tasks["stated"].texts) <= trained
    for task in ("unseen wording", "other words", "vague wish"):
        assert not set(prepared.tasks[task].texts) & trained
    held_words = [text for entry in load_templates(language) if entry.held_out for text in entry.variants]
    allowed_words = [
        text for entry in load_templates(language) if not entry.held_out for text in entry.variants
    ]
    pieces = lambda texts: {  # noqa: E731
        piece.strip() for text in texts for piece in re.split(r"{{.*?}}", text) if len(piece.strip()) > 3
    }
    for task in ("unseen wording", "vague wish"):
        for text in prepared.tasks[task].texts:
            assert any(piece in text for piece in pieces(held_words) - pieces(allowed_words)), text
    names = {
        name
        for categories_of_item in split.train.items[split.train.category_field]
        for name in categories_of_item
    }
    for text in prepared.tasks["vague wish"].texts:
        assert not any(re.search(rf"\b{name}\b", text) for name in names), text
    for text, mask_number in zip(
        prepared.tasks["other words"].texts, prepared.tasks["stated"].wish.mask_of_request, strict=True
    ):
        own = sorted(name for name in names if name != "unknown")[mask_number]
        assert not re.search(rf"\b{own}\b", text, re.IGNORECASE), text
    for text in prepared.tasks["unseen negation"].texts:
        assert any(text.endswith(idiom.split("}")[1]) for idiom in FRAMES["unseen_refusal"][language])


def test_a_shuffled_text_is_another_request_s(shop):
    prepared = make_following_tasks(shop, tasks=["stated", "shuffled"], n_requests=2, seed=4)
    assert prepared.tasks["shuffled"].texts == prepared.tasks["stated"].texts[::-1]
    prepared = make_following_tasks(shop, tasks=["stated", "shuffled"], n_requests=50)
    assert sorted(prepared.tasks["shuffled"].texts) == sorted(prepared.tasks["stated"].texts)
    is_same = prepared.tasks["shuffled"].wish.mask_of_request == prepared.tasks["stated"].wish.mask_of_request
    assert is_same.mean() < 0.3


def test_draws_depend_on_the_seed_alone(shop):
    def texts(task, **options):
        prepared = make_following_tasks(shop, tasks=[task], **options)
        return dict(zip(prepared.rows.tolist(), prepared.tasks[task].texts, strict=True))

    for task in set(TASKS) - {"none", "shuffled"}:
        all_texts = texts(task)
        assert all_texts == texts(task)
        few = texts(task, n_requests=30)
        assert len(few) == 30
        assert few.items() <= all_texts.items()
        if task != "constraints":  # of a target with one category there is but one to say
            assert all_texts != texts(task, seed=1)


def test_languages_name_the_same_categories_and_both_are_drawn(shop, fitted):
    filtered = fitted["shop"][1]
    english, chinese = (
        evaluate_following(filtered, shop, tasks=["stated"], languages=[entry], n_requests=50)
        for entry in ("en", "zh")
    )
    np.testing.assert_array_equal(english.values("HR@10", "stated"), chinese.values("HR@10", "stated"))
    bilingual = make_following_tasks(shop, tasks=["stated"], languages=["en", "zh"], n_requests=50).tasks[
        "stated"
    ]
    in_english = sum(text.isascii() for text in bilingual.texts)
    assert 10 < in_english < 40


def test_refusals_are_drawn_from_the_history(films):
    requests = films.requests("test")
    prepared = make_following_tasks(films, tasks=["negated"])
    items = films.train.items.set_index("item_id")["genres"]
    names = sorted({name for categories_of_item in items for name in categories_of_item} - {"unknown"})
    for row, mask_number in zip(
        prepared.rows, prepared.tasks["negated"].forbidden.mask_of_request, strict=True
    ):
        assert names[mask_number] not in items[requests.targets[row][0]]
        assert any(names[mask_number] in items[item] for item in requests.histories[row])


def test_a_missing_number_is_left_out_of_the_constraints(tiny):
    prepared = make_following_tasks(leave_last_out(tiny), tasks=["constraints"])
    first, second = prepared.tasks["constraints"].texts
    assert "year in 1980..1989" in first
    assert (
        second == 'genres = "War"'
    )  # the median popularity is the lowest, so that its upper half says nothing


def test_several_targets_and_a_later_moment(films, fitted):
    split = split_global_time(datasets.movielens_100k())
    model = models.create("most-popular").fit(split.train)
    result = evaluate_following(FilteredRecommender(model), split, k=3, tasks=["negated", "stated"])
    assert result.protocol == "global-time, test, whole catalogue, en"
    assert result.interval("violation@3", "negated").mean == 0
    np.testing.assert_array_equal(
        result.values("satisfaction@3", "stated"), result.values("possible@3", "stated")
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
    all_names = [*EXTRA_TASKS, *TASKS]
    asked_task = make_following_tasks(films, tasks=all_names, languages=["en", "zh"], n_requests=30).tasks
    assert list(asked_task) == ["none", *EXTRA_TASKS, *(name for name in TASKS if name != "none")]
    for name, entry in usual.items():
        assert asked_task[name].texts == entry.texts
        np.testing.assert_array_equal(asked_task[name].wish.mask_of_request, entry.wish.mask_of_request)
    with pytest.raises(InputError, match="did you mean title word.*accepted: none, .*, new words$"):
        make_following_tasks(films, tasks=["title words"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_more_draws_depend_on_the_seed_alone(language, films):
    def texts(task, **options):
        prepared = make_following_tasks(films, tasks=[task], languages=[language], **options)
        return dict(zip(prepared.rows.tolist(), prepared.tasks[task].texts, strict=True))

    for task in set(EXTRA_TASKS) - ({"new words"} if language == "zh" else set()):
        all_texts = texts(task)
        assert all_texts == texts(task)
        assert texts(task, n_requests=30).items() <= all_texts.items()
        assert all_texts != texts(task, seed=1)


def test_a_category_and_its_era_by_hand(tiny):
    # u wants c (Comedy and Drama, 1985); of v's target, d, no year is known; a, of 1991, is of another decade
    split = leave_last_out(tiny)
    asked_task = make_following_tasks(split, tasks=["category and era"]).tasks["category and era"]
    assert "1980s" in asked_task.texts[0]
    assert asked_task.texts[1] is None
    assert list(asked_task.wish.mask_of_request) == [0, -1]
    assert asked_task.wish.masks.tolist() == [[item == "c" for item in "abcdef"]]
    assert "Comedy" in asked_task.texts[0] or "Drama" in asked_task.texts[0]
    # the model shows c where it reads of the 1980s, then f
    model = Scorer(lambda dataset, text: np.array([0.0, 0, 5 if text and "1980s" in text else 1, 2, 3, 4]))
    result = evaluate_following(model.fit(split.train), split, k=2, tasks=["category and era"])
    assert result.values("satisfaction@2", "category and era")[0] == 0.5
    assert result.values("satisfaction@2", "category and era", lists_of="none")[0] == 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_category_and_era_are_what_the_text_says(language, films, fitted):
    options = {"tasks": ["stated", "category and era"], "languages": [language], "n_requests": 100}
    prepared = make_following_tasks(films, **options)
    asked_task, items = prepared.tasks["category and era"], films.train.items
    requests = films.requests("test")
    targets = films.train.item_columns([requests.targets[row][0] for row in prepared.rows])
    patterns, used = patterns_of(FRAMES["category_era"], films.train, language), set()
    for number, text in enumerate(asked_task.texts):
        if text is None:
            assert np.isnan(items["year"].astype(float).iloc[targets[number]])
            continue
        mask = asked_task.wish.masks[asked_task.wish.mask_of_request[number]]
        assert mask[targets[number]]
        np.testing.assert_array_equal(mask, parse(text, films.train).mask(items), err_msg=text)
        stated = prepared.tasks["stated"].wish
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
    prepared = make_following_tasks(split, tasks=["title word"], languages=[language], n_requests=100)
    asked_task, requests = prepared.tasks["title word"], split.requests("test")
    titles = split.train.items["title"].str.lower().tolist()
    targets = split.train.item_columns([requests.targets[row][0] for row in prepared.rows])
    patterns = patterns_of(FRAMES["title_word"], split.train, language)
    used = set()
    assert asked_task.wish.stated.sum() > 80
    for text, mask_number, target in zip(
        asked_task.texts, asked_task.wish.mask_of_request, targets, strict=True
    ):
        assert (text is None) == (mask_number < 0)
        if text is None:
            continue
        matched = [pattern.fullmatch(text) for pattern in patterns]
        word = next(result[1] for result in matched if result)
        used.update(number for number, result in enumerate(matched) if result)
        having = [re.search(rf"(?<![^\W\d_]){word}(?![^\W\d_])", title) is not None for title in titles]
        np.testing.assert_array_equal(asked_task.wish.masks[mask_number], having, err_msg=text)
        assert having[target]
    assert used == {0, 1, 2}


def test_a_title_without_a_word_of_its_own_is_not_asked_for(tiny):
    items = tiny.items.assign(title=["Alien", "Up", "Alien 3", "It", "M", "The"])
    split = leave_last_out(Dataset("short", tiny.users, items, tiny.interactions, "genres"))
    asked_task = make_following_tasks(split, tasks=["title word"]).tasks["title word"]
    assert "alien" in asked_task.texts[0]
    assert asked_task.texts[1] is None
    assert list(asked_task.wish.mask_of_request) == [0, -1]
    assert asked_task.wish.masks.tolist() == [[True, False, True, False, False, False]]
    items = items.assign(title=["A", "Up", "I", "It", "M", "The"])
    split = leave_last_out(Dataset("mute", tiny.users, items, tiny.interactions, "genres"))
    with pytest.raises(InputError, match="'title word' can be stated of no request of mute in en"):
        make_following_tasks(split, tasks=["title word"])


def test_frames_of_more_conditions_are_no_frames_for_training():
    held_words = (WORDING_FILES / "query_frames.toml").read_text("utf-8")
    for language in ("en", "zh"):
        for frame in FRAMES["category_era"][language] + FRAMES["title_word"][language]:
            assert (
                f'"{frame.replace("{decade}s", "{decade}").replace("{decade}年代", "{decade}")}"'
                not in held_words
            )


@pytest.mark.parametrize(("part", "categories_of_item"), [("valid", "validation"), ("test", "test")])
def test_new_words_are_said_of_the_category_that_is_stated(part, categories_of_item, films):
    prepared = make_following_tasks(films, part, tasks=["stated", "new words"])
    stated, asked_task = prepared.tasks["stated"], prepared.tasks["new words"]
    names = sorted({name for names in films.train.items["genres"] for name in names} - {"unknown"})
    spoken = set()
    for plain, text, mask_number, wish in zip(
        stated.texts,
        asked_task.texts,
        asked_task.wish.mask_of_request,
        stated.wish.mask_of_request,
        strict=True,
    ):
        words = held_out_words().get(names[wish].lower(), {}).get(categories_of_item, [])
        assert (text is None) == (not words) == (mask_number < 0)
        if text is not None:
            word = next(word for word in words if text == plain.replace(names[wish], word))
            spoken.add(word)
            assert mask_number == wish
    np.testing.assert_array_equal(asked_task.wish.masks, stated.wish.masks)
    assert not asked_task.wish.stated.all()  # Film-Noir has no held-out word
    all_names = {word for lists in held_out_words().values() for word in lists[categories_of_item]}
    assert spoken <= all_names
    assert len(spoken) > 0.8 * len(all_names)


def test_new_words_are_not_said_in_chinese_or_of_goods(films, shop):
    bilingual = make_following_tasks(films, tasks=["new words"], languages=["en", "zh"], n_requests=50)
    texts = [text for text in bilingual.tasks["new words"].texts if text]
    assert 5 < len(texts) < 45
    assert all(text.isascii() for text in texts)
    with pytest.raises(InputError, match="'new words' can be stated of no request of movielens-100k in zh"):
        make_following_tasks(films, tasks=["new words"], languages=["zh"])
    with pytest.raises(InputError, match="'new words' can be stated of no request of shop in en"):
        make_following_tasks(shop, tasks=["new words"])


def test_new_words_are_new(films, shop):
    folder = WORDING_FILES
    sources = [folder / f"{name}.toml" for name in ("lexicon", "query_frames", "templates")]
    known_words = {token for path in sources for token in tokenise(path.read_text("utf-8"))}
    known_words |= {
        token for frames in FRAMES["category"].values() for frame in frames for token in tokenise(frame)
    }
    for split in (films, shop):
        items = split.train.items
        known_words |= {
            word for names in items[split.train.category_field] for name in names for word in tokenise(name)
        }
    known_words |= {word for title in films.train.items["title"] for word in tokenise(title)}
    assert {"soldiers", "comedy", "funny", "recommend", "toy"} <= known_words  # so the sources were read
    genres = {
        name.lower() for categories_of_item in films.train.items["genres"] for name in categories_of_item
    }
    categories_of_item = held_out_words()
    assert set(categories_of_item) == genres - {"unknown", "film-noir"}
    all_names = [
        word
        for lists in categories_of_item.values()
        for part in ("validation", "test")
        for word in lists[part]
    ]
    assert len(all_names) == len(set(all_names))  # so the two lists of a genre, and the genres, share none
    for lists in categories_of_item.values():
        assert set(lists) == {"validation", "test"}
        assert min(len(words) for words in lists.values()) >= 2
        assert 3 <= sum(len(words) for words in lists.values()) <= 6
    for word in all_names:
        assert word == word.lower()
        assert word.isascii()
        assert not set(tokenise(word)) & known_words, word


# -- tables ---------------------------------------------------------------------------------------------------------


def test_tables_never_show_a_figure_without_its_interval(shop, fitted):
    result = [
        evaluate_following(
            model, shop, n_requests=30, tasks=["stated", "negated", "constraints"], label=label
        )
        for model, label in zip(fitted["shop"], ("popular", "filtered"), strict=True)
    ]
    tables = [
        result[1].table().drop(columns="requests"),
        compare_following(result, "satisfaction@10"),
        compare_following(result, "violation@10", base="none"),
    ]
    number = r"-?\d\.\d{3}"
    for table in tables:
        for cell in table.to_numpy().ravel():
            assert re.fullmatch(rf"{number} \[{number}, {number}\]|–", cell)
    assert list(tables[1].columns) == ["popular", "filtered"]
    assert tables[1].loc["stated", "filtered"] == result[1].table().loc["stated", "satisfaction@10"]
    assert "none" not in tables[2].index
    assert tables[2].loc["stated", "filtered"] == "–"
    assert (result[1].table()["requests"] == 30).all()


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
    other_evaluation = shop.train.items.iloc[::-1].reset_index(drop=True)
    turned = Dataset("turned", shop.train.users, other_evaluation, shop.train.interactions, "categories")
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
    other_evaluation = evaluate_following(
        popular, shop, n_requests=5, tasks=["stated"], seed=1, label="other"
    )
    for wrong, message in (
        ([], "empty list"),
        ([first, other_evaluation], "not asked the same"),
        ([first, first], "named"),
    ):
        with pytest.raises(InputError, match=message):
            compare_following(wrong, "HR@10")
    with pytest.raises(InputError, match="unknown metric 'HR@5'"):
        compare_following([first], "HR@5")
    with pytest.raises(InputError, match="unknown task 'negated'"):
        first.difference("HR@10", "negated")
