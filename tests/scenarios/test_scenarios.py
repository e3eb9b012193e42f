"""The four scenarios: what their simulators promise, their measures on numbers worked by hand, and refusals."""

import numpy as np
import pandas as pd
import pytest

from instructrec import evaluation, models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.evaluation.following import list_value, satisfaction_at_k, top_lists
from instructrec.scenarios import (
    curves_with_intervals,
    ecommerce,
    education,
    media,
    social,
)
from instructrec.split import leave_last_out, split_global_time

HIDDEN = -np.inf


@pytest.fixture(scope="module")
def posts():
    return social.simulate_posts(n_users=60, n_posts=400, visits_per_user=20, seed=1)


@pytest.fixture(scope="module")
def school():
    return education.simulate_school(n_learners=80, seed=1)


@pytest.fixture
def tiny() -> Dataset:
    items = pd.DataFrame(
        {
            "item_id": [10, 20, 30, 40, 50],
            "title": ["Ten", "Twenty", "Thirty", "Forty", "Fifty"],
            "genres": [("Comedy",), ("Drama",), ("Comedy", "Drama"), ("War",), ()],
        }
    )
    events = [(1, 10), (1, 20), (1, 30), (2, 10), (2, 20), (2, 40), (3, 10), (3, 30), (3, 20), (4, 10)]
    interactions = pd.DataFrame(events, columns=["user_id", "item_id"]).assign(
        rating=5.0, timestamp=np.arange(len(events), dtype=np.int64) * 40_000, behavior="purchase"
    )
    return Dataset("tiny", pd.DataFrame({"user_id": [1, 2, 3, 4]}), items, interactions, "genres")


# -- following ------------------------------------------------------------------------------------------------------


def test_top_lists_keep_the_order_of_the_catalogue_and_leave_places_empty():
    lists = top_lists([[1.0, 2.0, 2.0, HIDDEN], [HIDDEN, HIDDEN, 0.0, HIDDEN]], 3)
    np.testing.assert_array_equal(lists, [[1, 2, 0], [2, -1, -1]])


def test_satisfaction_counts_places_not_items():
    scores = [[3.0, 2.0, 1.0], [HIDDEN, 2.0, HIDDEN]]
    np.testing.assert_allclose(satisfaction_at_k([True, True, False], scores, 2), [1.0, 0.5])
    np.testing.assert_allclose(satisfaction_at_k([[0, 0, 1], [0, 0, 1]], scores, 3), [1 / 3, 0])


def test_an_item_at_an_empty_place_does_not_satisfy():
    assert satisfaction_at_k([True, False], [[HIDDEN, HIDDEN]], 2)[0] == 0


def test_the_value_of_a_list_by_hand():
    utility = np.log([[1.0, 2.0, 4.0]])
    scores = [[1.0, 3.0, 2.0]]
    assert list_value(utility, scores, k=2)[0] == pytest.approx(np.log(1 + 2 + 4))
    assert list_value(utility, scores, [True, True, False], k=2)[0] == pytest.approx(np.log(1 + 2))
    assert list_value(utility, [[HIDDEN] * 3], k=2)[0] == 0


@pytest.mark.parametrize(
    ("scores", "k"), [([[np.nan]], 1), ([[1.0]], 0), ([[1.0]], True), ([[1.0]], 1.5), ([1.0], 1)]
)
def test_top_lists_refuses(scores, k):
    with pytest.raises(InputError):
        top_lists(scores, k)


def test_values_of_another_shape_are_refused():
    with pytest.raises(InputError, match="one an item"):
        satisfaction_at_k([True], [[1.0, 2.0]], 1)


# -- filtering and the shop -----------------------------------------------------------------------------------------


def test_filter_by_instruction_hides_what_does_not_qualify(tiny):
    inner = models.create("most-popular")
    filtered = models.FilteredRecommender(inner).fit(tiny)
    scores = filtered.score([[], [10]], ['genres = "Comedy"', None])
    np.testing.assert_array_equal(np.isneginf(scores[0]), [False, True, False, True, True])
    np.testing.assert_array_equal(scores[1], inner.score([[10]])[0])
    assert filtered.recommend([10], "comedy", n=5)["item_id"].tolist()[0] == 30


def test_filter_by_instruction_is_measured_like_any_model(tiny):
    split = leave_last_out(tiny)
    filtered = models.FilteredRecommender(models.create("most-popular").fit(split.train))
    texts = media.genre_instructions(split)
    assert (
        evaluation.evaluate(filtered, split, ks=(3,), instructions=texts).per_user["HR@3"].between(0, 1).all()
    )


def test_filter_by_instruction_is_not_saved(tiny, tmp_path):
    with pytest.raises(InputError, match="not saved"):
        models.FilteredRecommender(models.create("random").fit(tiny)).save(tmp_path / "model")


def test_filter_within_looks_at_the_head_of_the_list_only():
    scores = [[4.0, 3.0, 2.0, 1.0]]
    wanted = [False, True, False, True]
    np.testing.assert_array_equal(ecommerce.filter_within(scores, wanted, 2), [[HIDDEN, 3, HIDDEN, HIDDEN]])
    np.testing.assert_array_equal(ecommerce.filter_within(scores, wanted), [[HIDDEN, 3, HIDDEN, 1]])
    with pytest.raises(InputError):
        ecommerce.filter_within(scores, wanted, 0)


def test_without_seen_hides_the_history(tiny):
    scores = ecommerce.without_seen(models.create("most-popular").fit(tiny), [[10], []])
    np.testing.assert_array_equal(np.isneginf(scores), [[True, False, False, False, False], [False] * 5])


def test_repeat_hits_by_hand(tiny):
    day = 86_400
    log = pd.DataFrame(
        [
            (1, 10, 0),
            (1, 20, 1 * day),
            (2, 10, 2 * day),
            (1, 10, 30 * day),
            (2, 20, 31 * day),
            (2, 10, 200 * day),
        ],
        columns=["user_id", "item_id", "timestamp"],
    ).assign(rating=5.0, behavior="purchase")
    split = split_global_time(tiny.with_interactions(log), valid=0.1, test=0.4)
    model = models.create("most-popular").fit(split.train)
    found = ecommerce.repeat_hits(model, split, k=5)
    assert found["kind"].tolist() == ["bought again", "new", "bought again"]
    assert found["hidden"].tolist() == [0, 1, 0]
    assert found["shown"].tolist() == [1, 1, 1]
    assert found["shelf"].tolist() == [1, 0, 0]


# -- social media ---------------------------------------------------------------------------------------------------


def test_posts_are_the_same_for_a_seed_and_engaged_with_once_and_after_they_are_out(posts):
    data, truth = posts
    again, _ = social.simulate_posts(n_users=60, n_posts=400, visits_per_user=20, seed=1)
    pd.testing.assert_frame_equal(data.interactions, again.interactions)
    assert not data.interactions.duplicated(["user_id", "item_id"]).any()
    posted = data.interactions["item_id"].map(data.items.set_index("item_id")["posted_at"])
    assert (data.interactions["timestamp"] >= posted).all()
    np.testing.assert_allclose(truth.tastes.sum(axis=1), 1)


def test_a_shorter_half_life_makes_younger_engagements():
    ages = []
    for half_life in (3.0, 48.0):
        data, _ = social.simulate_posts(n_users=40, n_posts=400, visits_per_user=15, half_life=half_life)
        posted = data.interactions["item_id"].map(data.items.set_index("item_id")["posted_at"])
        ages.append((data.interactions["timestamp"] - posted).median())
    assert ages[0] < ages[1] / 2


@pytest.mark.parametrize(
    "setting", [{"n_users": 1}, {"half_life": 0}, {"half_life": float("nan")}, {"n_posts": 3}, {"days": 2.5}]
)
def test_posts_refuse_a_setting_out_of_range(setting):
    with pytest.raises(InputError):
        social.simulate_posts(**setting)


def test_affinity_is_the_formula(posts):
    data, _ = posts
    one = data.with_interactions(data.interactions.iloc[:1])
    user = data.users.index[data.users["user_id"] == one.interactions["user_id"].iloc[0]][0]
    post = data.item_columns(one.interactions["item_id"])[0]
    follows = social.follows_matrix(data.users, data.items)[user, post]
    assert social.affinity(one, 3.0, 1.0)[user, post] == pytest.approx(2 / 9 * (3.0 if follows else 1.0))


def test_next_engagements_know_nothing_of_the_future(posts):
    data, _ = posts
    split = split_global_time(data)
    asked = social.next_engagements(split, most=50)
    assert asked.targets.sum(axis=1).tolist() == [1] * 50
    assert (asked.ages[asked.candidates] >= 0).all()
    assert asked.candidates[asked.targets].all()
    with pytest.raises(InputError):
        social.next_engagements(split, "train")


@pytest.mark.parametrize(
    "text", ["Show me something different", "换个话题", "change the subject, please", "看腻了"]
)
def test_a_wish_for_change_is_heard(text):
    assert social.asks_for_change(text)


@pytest.mark.parametrize("text", ["more football", "多来点足球"])
def test_other_wishes_ask_for_no_change(text):
    assert not social.asks_for_change(text)


def test_a_loop_narrows_and_an_instruction_widens_it(posts):
    tastes = posts[1].tastes.to_numpy()
    alone = social.feedback_loop(tastes, rounds=20)
    spoken = social.feedback_loop(tastes, rounds=20, instruction="换个话题")
    deaf = social.feedback_loop(tastes, rounds=20, instruction="more football")
    assert alone["entropy"][-5:].mean() < alone["entropy"][0].mean() / 2
    assert spoken["entropy"][-5:].mean() > alone["entropy"][-5:].mean()
    assert spoken["error"].mean() < alone["error"].mean()
    np.testing.assert_array_equal(deaf["entropy"], alone["entropy"])


def test_feedback_loop_refuses_what_is_no_taste():
    with pytest.raises(InputError):
        social.feedback_loop(np.ones((3, 2)))


def test_entropy_in_bits():
    np.testing.assert_allclose(social.entropy_bits(np.array([[1.0, 0.0], [0.5, 0.5]])), [0, 1])


# -- online education -----------------------------------------------------------------------------------------------


def test_the_school_is_a_graph_without_circles(school):
    assert not school.needs.diagonal().any()
    assert not (school.needs & school.needs.T).any()
    again = education.simulate_school(n_learners=80, seed=1)
    pd.testing.assert_frame_equal(school.dataset.interactions, again.dataset.interactions)


def test_learners_pass_once_and_try_nothing_that_they_have_passed(school):
    log = school.dataset.interactions
    assert not log[log["behavior"] == "passed"].duplicated(["user_id", "item_id"]).any()
    after = log.assign(done=(log["behavior"] == "passed").groupby([log["user_id"], log["item_id"]]).cumsum())
    assert (after["done"] <= 1).all()


def test_gain_by_hand(school):
    ids = dict(zip(school.dataset.items["title"], school.dataset.items["item_id"], strict=True))
    columns = school.dataset.item_columns(
        [ids[t] for t in ("Mathematics 1", "Mathematics 2", "Statistics 1")]
    )
    newcomer, knows = [], [ids["Mathematics 1"]]
    np.testing.assert_allclose(
        school.gain([newcomer, knows])[:, columns],
        [[0.9, 0.9 * 0.35, 0.9 * 0.35], [0, 0.9, 0.9]],
    )
    np.testing.assert_array_equal(
        school.takeable([newcomer, knows])[:, columns], [[True, False, False], [False, True, True]]
    )


def test_a_path_keeps_the_order_and_leaves_out_what_is_known(school):
    for goal in school.dataset.items["item_id"]:
        path = school.path(goal)
        assert path[-1] == goal
        for place, course in enumerate(path):
            assert set(school.prerequisites[course]) <= set(path[:place])
    assert school.path(goal, known=path[:1]) == path[1:]


@pytest.mark.parametrize(
    ("text", "title", "from_zero"),
    [
        ("I want to reach Machine learning 3", "Machine learning 3", False),
        ("零基础，想学到机器学习3级", "Machine learning 3", True),
        ("想学统计二级", "Statistics 2", False),
        ("from scratch to data analysis", "Data analysis 5", True),
    ],
)
def test_goals_are_read(school, text, title, from_zero):
    goal = education.read_goal(text, school.dataset)
    assert (school.dataset.titles[goal.item_id], goal.from_zero) == (title, from_zero)


def test_refusals_of_the_school(school):
    with pytest.raises(InputError, match="Programming"):
        education.read_goal("teach me something", school.dataset)
    with pytest.raises(InputError):
        school.goals(9)
    with pytest.raises(InputError):
        education.simulate_school(n_learners=1)
    with pytest.raises(InputError):
        education.simulate_school(attempts_per_learner=0)


def test_a_path_reaches_the_goal_sooner_than_a_policy_that_knows_no_order(school):
    goals = school.goals()
    by_path = education.follow(school, school.path_scores, goals)
    popular = models.create("most-popular").fit(school.dataset)
    by_fame = education.follow(school, lambda known, _: popular.score(known), goals)
    assert (by_path <= by_fame).mean() > 0.95
    assert by_path.min() >= 3


# -- music and video ------------------------------------------------------------------------------------------------


def test_genre_instructions_say_where_they_come_from(tiny):
    split = leave_last_out(tiny)
    genres = dict(zip(tiny.items["item_id"], tiny.items["genres"], strict=True))
    targets = [target[0] for target in split.requests("test").targets]
    for text, target in zip(media.genre_instructions(split, "oracle"), targets, strict=True):
        assert text.split('"')[1] in genres[target]
    assert sorted(media.genre_instructions(split, "shuffled")) == sorted(
        media.genre_instructions(split, "oracle")
    )
    # Each history is items 10 and 20 or 30: Comedy wins, by count or by name.
    assert set(media.genre_instructions(split, "history")) == {'genres = "Comedy"'}
    with pytest.raises(InputError):
        media.genre_instructions(split, "guess")


def test_tail_and_coverage(tiny):
    np.testing.assert_array_equal(media.tail_items(tiny, 0.6), [False, False, True, True, True])
    assert media.shown_items([[3.0, 2.0, HIDDEN], [3.0, 2.0, 1.0]], 2) == 2


def test_the_share_of_the_first_day(tiny):
    shares = media.within_first_day(tiny)
    assert shares[1] == 1.0
    assert shares.between(0, 1).all()


def test_occasions_are_described_text_by_text(tiny):
    split = leave_last_out(tiny)
    model = models.FilteredRecommender(models.create("most-popular").fit(split.train))
    table = media.occasion_table(model, split, [None, "comedy"], k=2)
    assert table.index.tolist() == ["(nothing said)", "comedy"]
    assert table["films"].tolist() == [5, 2]


# -- tables and figures that the chapter shares -----------------------------------------------------------------------


def test_lists_of_a_shop_by_name():
    lists = ecommerce.filtered_lists(
        {"a": np.array([[2.0, 1.0]]), "b": np.array([[1.0, 2.0]])}, [False, True], [1]
    )
    assert list(lists) == ["a, no filter", "a, its top 1 filtered", "a, all filtered", "b, all filtered"]
    assert np.isneginf(lists["a, its top 1 filtered"]).all()


def test_measures_of_a_school_count_an_empty_place_as_nothing(school):
    scores = np.full((1, school.dataset.n_items), HIDDEN)
    scores[0, 0] = 1.0
    found = school.measure(scores, [[]], k=2)
    assert found["can be taken"].tolist() == [0.5]
    assert found["true gain"].tolist() == [0.45]


def test_a_policy_of_a_model_keeps_prerequisites_where_asked(school):
    model = models.create("most-popular").fit(school.dataset)
    plain, kept = education.by_model(model)([[]], [100]), education.by_model(model, school)([[]], [100])
    assert np.isfinite(plain).all()
    np.testing.assert_array_equal(np.isfinite(kept), school.takeable([[]]))


def test_a_loop_table_has_a_column_a_loop(posts):
    table = social.loop_table({"alone": social.feedback_loop(posts[1].tastes.to_numpy(), rounds=6)})
    assert table.shape == (3, 1)
    assert "[" in table.iloc[0, 0]


def test_curves_are_drawn_and_labelled():
    point = evaluation.Interval(0.5, 0.4, 0.6)
    ax = curves_with_intervals([1, 10], {"a": [point] * 2}, "x", "y", ("here", 3), ("level", 0.5))
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["a", "here", "level"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    with pytest.raises(InputError, match="one each"):
        curves_with_intervals([1, 10], {"a": [point]}, "x", "y")
