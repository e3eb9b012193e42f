"""The four scenarios: the properties of their simulators, metrics checked by hand, and rejected input."""

import numpy as np
import pandas as pd
import pytest

from instructrec import evaluation, models
from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.evaluation.following import list_value, satisfaction_at_k
from instructrec.ranking import top_k
from instructrec.scenarios import (
    curves_with_intervals,
    feed,
    school,
    screen,
    shop,
)
from instructrec.split import leave_last_out, split_global_time

HIDDEN = -np.inf


@pytest.fixture(scope="module")
def posts():
    return feed.simulate_posts(n_users=60, n_posts=400, visits_per_user=20, seed=1)


@pytest.fixture(scope="module")
def academy():
    return school.simulate_school(n_learners=80, seed=1)


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


def test_top_k_breaks_ties_by_catalogue_order_and_mark_empty_positions():
    lists = top_k([[1.0, 2.0, 2.0, HIDDEN], [HIDDEN, HIDDEN, 0.0, HIDDEN]], 3)
    np.testing.assert_array_equal(lists, [[1, 2, 0], [2, -1, -1]])


def test_satisfaction_counts_positions_not_items():
    scores = [[3.0, 2.0, 1.0], [HIDDEN, 2.0, HIDDEN]]
    np.testing.assert_allclose(satisfaction_at_k([True, True, False], scores, 2), [1.0, 0.5])
    np.testing.assert_allclose(satisfaction_at_k([[0, 0, 1], [0, 0, 1]], scores, 3), [1 / 3, 0])


def test_an_empty_position_does_not_satisfy():
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
def test_top_k_rejects(scores, k):
    with pytest.raises(InputError):
        top_k(scores, k)


def test_values_of_another_shape_are_rejected():
    with pytest.raises(InputError, match="one per item"):
        satisfaction_at_k([True], [[1.0, 2.0]], 1)


# -- filtering and the shop -----------------------------------------------------------------------------------------


def test_a_filtered_recommender_hides_what_does_not_qualify(tiny):
    inner = models.create("most-popular")
    filtered = models.FilteredRecommender(inner).fit(tiny)
    scores = filtered.score([[], [10]], ['genres = "Comedy"', None])
    np.testing.assert_array_equal(np.isneginf(scores[0]), [False, True, False, True, True])
    np.testing.assert_array_equal(scores[1], inner.score([[10]])[0])
    assert filtered.recommend([10], "comedy", n=5)["item_id"].tolist()[0] == 30


def test_a_filtered_recommender_is_measured_like_any_model(tiny):
    split = leave_last_out(tiny)
    filtered = models.FilteredRecommender(models.create("most-popular").fit(split.train))
    texts = screen.genre_instructions(split)
    assert (
        evaluation.evaluate(filtered, split, ks=(3,), instructions=texts).per_user["HR@3"].between(0, 1).all()
    )


def test_a_filtered_recommender_is_not_saved(tiny, tmp_path):
    with pytest.raises(InputError, match="not saved"):
        models.FilteredRecommender(models.create("random").fit(tiny)).save(tmp_path / "model")


def test_filter_ranking_reads_the_first_items_only():
    scores = [[4.0, 3.0, 2.0, 1.0]]
    mask = [False, True, False, True]
    np.testing.assert_array_equal(shop.filter_ranking(scores, mask, 2), [[HIDDEN, 3, HIDDEN, HIDDEN]])
    np.testing.assert_array_equal(shop.filter_ranking(scores, mask), [[HIDDEN, 3, HIDDEN, 1]])
    with pytest.raises(InputError):
        shop.filter_ranking(scores, mask, 0)


def test_score_unseen_excludes_the_history(tiny):
    scores = shop.score_unseen(models.create("most-popular").fit(tiny), [[10], []])
    np.testing.assert_array_equal(np.isneginf(scores), [[True, False, False, False, False], [False] * 5])


def test_repeat_purchase_hits_by_hand(tiny):
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
    hits = shop.repeat_purchase_hits(model, split, k=5)
    assert hits["kind"].tolist() == ["bought again", "new", "bought again"]
    assert hits[["hidden", "shown", "shelf"]].T.to_numpy().tolist() == [[0, 1, 0], [1, 1, 1], [1, 0, 0]]


# -- social media ---------------------------------------------------------------------------------------------------


def test_posts_depend_on_the_seed_only_and_get_one_engagement_per_user_after_publication(posts):
    data, truth = posts
    again, _ = feed.simulate_posts(n_users=60, n_posts=400, visits_per_user=20, seed=1)
    pd.testing.assert_frame_equal(data.interactions, again.interactions)
    assert not data.interactions.duplicated(["user_id", "item_id"]).any()
    posted = data.interactions["item_id"].map(data.items.set_index("item_id")["posted_at"])
    assert (data.interactions["timestamp"] >= posted).all()
    np.testing.assert_allclose(truth.tastes.sum(axis=1), 1)


def test_a_shorter_half_life_makes_younger_engagements():
    ages = []
    for half_life in (3.0, 48.0):
        data, _ = feed.simulate_posts(n_users=40, n_posts=400, visits_per_user=15, half_life=half_life)
        posted = data.interactions["item_id"].map(data.items.set_index("item_id")["posted_at"])
        ages.append((data.interactions["timestamp"] - posted).median())
    assert ages[0] < ages[1] / 2


@pytest.mark.parametrize(
    "setting", [{"n_users": 1}, {"half_life": 0}, {"half_life": float("nan")}, {"n_posts": 3}, {"days": 2.5}]
)
def test_posts_reject_a_setting_out_of_range(setting):
    with pytest.raises(InputError):
        feed.simulate_posts(**setting)


def test_affinity_is_the_formula(posts):
    data, _ = posts
    train = data.with_interactions(data.interactions.iloc[:1])
    user = data.users.index[data.users["user_id"] == train.interactions["user_id"].iloc[0]][0]
    post = data.item_columns(train.interactions["item_id"])[0]
    follows = feed.follows_matrix(data.users, data.items)[user, post]
    assert feed.affinity(train, 3.0, 1.0)[user, post] == pytest.approx(2 / 9 * (3.0 if follows else 1.0))


def test_next_engagements_exclude_future_posts(posts):
    data, _ = posts
    split = split_global_time(data)
    requests = feed.next_engagements(split, max_requests=50)
    assert requests.targets.sum(axis=1).tolist() == [1] * 50
    assert (requests.ages[requests.candidates] >= 0).all()
    assert requests.candidates[requests.targets].all()
    with pytest.raises(InputError):
        feed.next_engagements(split, "train")


@pytest.mark.parametrize(
    "text", ["Show me something different", "换个话题", "change the subject, please", "看腻了"]
)
def test_a_request_for_change_is_recognised(text):
    assert feed.requests_change(text)


@pytest.mark.parametrize("text", ["more football", "多来点足球"])
def test_other_requests_are_not_requests_for_change(text):
    assert not feed.requests_change(text)


def test_a_loop_narrows_and_an_instruction_widens_it(posts):
    tastes = posts[1].tastes.to_numpy()
    quiet = feed.simulate_feedback_loop(tastes, n_rounds=20)
    changing = feed.simulate_feedback_loop(tastes, n_rounds=20, instruction="换个话题")
    unrelated = feed.simulate_feedback_loop(tastes, n_rounds=20, instruction="more football")
    assert quiet["entropy"][-5:].mean() < quiet["entropy"][0].mean() / 2
    assert changing["entropy"][-5:].mean() > quiet["entropy"][-5:].mean()
    assert changing["error"].mean() < quiet["error"].mean()
    np.testing.assert_array_equal(unrelated["entropy"], quiet["entropy"])


def test_feedback_loop_rejects_tastes_that_are_not_shares():
    with pytest.raises(InputError):
        feed.simulate_feedback_loop(np.ones((3, 2)))


def test_entropy_in_bits():
    np.testing.assert_allclose(feed.entropy_bits(np.array([[1.0, 0.0], [0.5, 0.5]])), [0, 1])


# -- online education -----------------------------------------------------------------------------------------------


def test_the_prerequisites_have_no_cycle(academy):
    assert not academy.prerequisite_closure.diagonal().any()
    assert not (academy.prerequisite_closure & academy.prerequisite_closure.T).any()
    again = school.simulate_school(n_learners=80, seed=1)
    pd.testing.assert_frame_equal(academy.dataset.interactions, again.dataset.interactions)


def test_learners_pass_a_course_once_and_do_not_repeat_it(academy):
    log = academy.dataset.interactions
    assert not log[log["behavior"] == "passed"].duplicated(["user_id", "item_id"]).any()
    after = log.assign(done=(log["behavior"] == "passed").groupby([log["user_id"], log["item_id"]]).cumsum())
    assert (after["done"] <= 1).all()


def test_learning_gain_by_hand(academy):
    ids = dict(zip(academy.dataset.items["title"], academy.dataset.items["item_id"], strict=True))
    columns = academy.dataset.item_columns(
        [ids[t] for t in ("Mathematics 1", "Mathematics 2", "Statistics 1")]
    )
    newcomer, advanced = [], [ids["Mathematics 1"]]
    np.testing.assert_allclose(
        academy.learning_gain([newcomer, advanced])[:, columns],
        [[0.9, 0.9 * 0.35, 0.9 * 0.35], [0, 0.9, 0.9]],
    )
    np.testing.assert_array_equal(
        academy.takeable([newcomer, advanced])[:, columns], [[True, False, False], [False, True, True]]
    )


def test_a_path_keeps_the_order_and_excludes_passed_courses(academy):
    for goal in academy.dataset.items["item_id"]:
        path = academy.learning_path(goal)
        assert path[-1] == goal
        for position, course in enumerate(path):
            assert set(academy.prerequisites[course]) <= set(path[:position])
    assert academy.learning_path(goal, passed=path[:1]) == path[1:]


@pytest.mark.parametrize(
    ("text", "title", "from_zero"),
    [
        ("I want to reach Machine learning 3", "Machine learning 3", False),
        ("零基础，想学到机器学习3级", "Machine learning 3", True),
        ("想学统计二级", "Statistics 2", False),
        ("from scratch to data analysis", "Data analysis 5", True),
    ],
)
def test_goals_are_parsed(academy, text, title, from_zero):
    goal = school.parse_goal(text, academy.dataset)
    assert (academy.dataset.titles[goal.item_id], goal.from_zero) == (title, from_zero)


def test_the_school_rejects_bad_input(academy):
    with pytest.raises(InputError, match="Programming"):
        school.parse_goal("teach me something", academy.dataset)
    with pytest.raises(InputError):
        academy.goals(9)
    with pytest.raises(InputError):
        school.simulate_school(n_learners=1)
    with pytest.raises(InputError):
        school.simulate_school(attempts_per_learner=0)


def test_a_path_reaches_the_goal_sooner_than_a_policy_without_prerequisites(academy):
    goals = academy.goals()
    by_path = school.attempts_until_goal(academy, academy.learning_path_scores, goals)
    popular = models.create("most-popular").fit(academy.dataset)
    by_popularity = school.attempts_until_goal(academy, lambda passed, _: popular.score(passed), goals)
    assert (by_path <= by_popularity).mean() > 0.95
    assert by_path.min() >= 3


# -- music and video ------------------------------------------------------------------------------------------------


def test_genre_instructions_come_from_their_source(tiny):
    split = leave_last_out(tiny)
    genres = dict(zip(tiny.items["item_id"], tiny.items["genres"], strict=True))
    targets = [target[0] for target in split.requests("test").targets]
    for text, target in zip(screen.genre_instructions(split, "oracle"), targets, strict=True):
        assert text.split('"')[1] in genres[target]
    assert sorted(screen.genre_instructions(split, "shuffled")) == sorted(
        screen.genre_instructions(split, "oracle")
    )
    # Each history is items 10 and 20 or 30: Comedy wins, by count or by name.
    assert set(screen.genre_instructions(split, "history")) == {'genres = "Comedy"'}
    with pytest.raises(InputError):
        screen.genre_instructions(split, "guess")


def test_long_tail_and_distinct_items(tiny):
    np.testing.assert_array_equal(screen.long_tail_mask(tiny, 0.6), [False, False, True, True, True])
    assert screen.n_distinct_items([[3.0, 2.0, HIDDEN], [3.0, 2.0, 1.0]], 2) == 2


def test_first_day_share(tiny):
    shares = screen.first_day_share(tiny)
    assert shares[1] == 1.0
    assert shares.between(0, 1).all()


def test_occasion_table_has_a_row_for_each_text(tiny):
    split = leave_last_out(tiny)
    model = models.FilteredRecommender(models.create("most-popular").fit(split.train))
    table = screen.occasion_table(model, split, [None, "comedy"], k=2)
    assert table.index.tolist() == ["(nothing said)", "comedy"]
    assert table["films"].tolist() == [5, 2]


# -- tables and figures that the chapter shares -----------------------------------------------------------------------


def test_lists_of_a_shop_by_name():
    lists = shop.filtered_lists(
        {"a": np.array([[2.0, 1.0]]), "b": np.array([[1.0, 2.0]])}, [False, True], [1]
    )
    assert list(lists) == ["a, no filter", "a, its top 1 filtered", "a, all filtered", "b, all filtered"]
    assert np.isneginf(lists["a, its top 1 filtered"]).all()


def test_list_quality_counts_an_empty_position_as_zero(academy):
    scores = np.full((1, academy.dataset.n_items), HIDDEN)
    scores[0, 0] = 1.0
    quality = academy.list_quality(scores, [[]], k=2)
    assert quality["can be taken"].tolist() == [0.5]
    assert quality["true gain"].tolist() == [0.45]


def test_a_model_policy_respects_prerequisites_if_it_gets_the_school(academy):
    model = models.create("most-popular").fit(academy.dataset)
    scores, takeable_scores = (
        school.model_policy(model)([[]], [100]),
        school.model_policy(model, academy)([[]], [100]),
    )
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(np.isfinite(takeable_scores), academy.takeable([[]]))


def test_a_feedback_loop_table_has_a_column_for_each_loop(posts):
    table = feed.feedback_loop_table(
        {"alone": feed.simulate_feedback_loop(posts[1].tastes.to_numpy(), n_rounds=6)}
    )
    assert table.shape == (3, 1)
    assert "[" in table.iloc[0, 0]


def test_curves_are_drawn_and_labelled():
    point = evaluation.Interval(0.5, 0.4, 0.6)
    ax = curves_with_intervals([1, 10], {"a": [point] * 2}, "x", "y", ("here", 3), ("level", 0.5))
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["a", "here", "level"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    with pytest.raises(InputError, match="one each"):
        curves_with_intervals([1, 10], {"a": [point]}, "x", "y")
