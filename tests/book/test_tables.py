"""Tables of models: every pair tested and corrected, seeds beside users, and no difference without its interval."""

from __future__ import annotations

import inspect
import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import instructrec.evaluation as ev
from instructrec.errors import InputError
from tools.build_book import ROOT

BOOK = ROOT / "book"
N_USERS = 120


def figures(name: str, lead: float = 0.0, seed: int = 0, **other: object) -> ev.Evaluation:
    """A model that is ahead of the others by `lead` on the same users, with noise of its own."""
    base = np.random.default_rng(99).random(N_USERS)
    noise = np.random.default_rng([seed, *name.encode()]).normal(0, 0.1, N_USERS)
    per_user = pd.DataFrame(
        {"user_id": range(N_USERS), "NDCG@10": base + lead + noise, "HR@10": base.round()}
    )
    return ev.Evaluation(name, per_user.assign(**other), "leave-last-out, test, whole catalogue")


@pytest.fixture(scope="module")
def models() -> list[ev.Evaluation]:
    return [figures("low", -0.1), figures("mid"), figures("high", 0.1), figures("mid again", 0.001)]


def test_every_pair_is_compared_once_the_better_first(models):
    pairs = ev.all_pairs(models, "NDCG@10")
    names = [one.model for one in models]
    assert {frozenset(pair[:2]) for pair in pairs} == {
        frozenset((a, b)) for i, a in enumerate(names) for b in names[:i]
    }
    assert len(pairs) == 6
    assert all(pair.difference.mean >= 0 for pair in pairs)
    assert [pair.first for pair in pairs][:3] == ["high"] * 3
    assert {"low"} == {pair.second for pair in pairs} - {pair.first for pair in pairs}


def test_a_pair_holds_what_the_single_tests_give(models):
    pairs = ev.all_pairs(models, "NDCG@10", seed=3)
    by_name = {one.model: one.per_user["NDCG@10"] for one in models}
    for pair in pairs:
        both = by_name[pair.first], by_name[pair.second]
        assert pair.difference == ev.paired_difference(*both, seed=3)
        assert pair.p == ev.randomisation_test(*both, seed=3)
        assert pair.significant == (pair.p_holm < 0.05)
    assert [pair.p_holm for pair in pairs] == ev.holm([pair.p for pair in pairs]).tolist()
    assert [pair.significant for pair in pairs].count(False) == 1


def test_the_table_holds_the_pairs_in_order(models):
    pairs, table = ev.all_pairs(models, "NDCG@10"), ev.compare_all(models, "NDCG@10")
    assert table.index.names == ["model", "minus"]
    assert table.index.tolist() == [pair[:2] for pair in pairs]
    assert table["NDCG@10 difference"].tolist() == [str(pair.difference) for pair in pairs]
    assert table["p"].tolist() == [pair.p for pair in pairs]
    assert table["p (Holm)"].tolist() == [pair.p_holm for pair in pairs]
    assert table["told apart"].tolist() == ["yes" if pair.significant else "no" for pair in pairs]


def test_the_order_of_the_evaluations_changes_nothing(models):
    pd.testing.assert_frame_equal(ev.compare_all(models, "NDCG@10"), ev.compare_all(models[::-1], "NDCG@10"))


def test_what_passes_alone_may_not_pass_among_many():
    # The second is barely ahead of the first: alone it is told apart, among ten equal models it is not.
    lead = next(
        lead
        for lead in np.arange(0, 0.1, 0.002)
        if 0.01 < ev.all_pairs([figures("a"), figures("b", lead)], "NDCG@10")[0].p < 0.04
        and ev.all_pairs([figures("a"), figures("b", lead)], "NDCG@10")[0].first == "b"
    )
    two = [figures("a"), figures("b", lead)]
    assert ev.all_pairs(two, "NDCG@10")[0].significant
    many = ev.compare_all([*two, *(figures(f"c{i}") for i in range(8))], "NDCG@10")
    assert many.loc[("b", "a"), "told apart"] == "no"
    assert many.loc[("b", "a"), "p"] == ev.all_pairs(two, "NDCG@10")[0].p
    assert ev.compare_all(two, "NDCG@10", level=0.009)["told apart"].tolist() == ["no"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda a, b: ev.compare_all([a], "NDCG@10"), "only 'a'; a pair needs at least two"),
        (lambda a, b: ev.compare_all([], "NDCG@10"), "empty list"),
        (lambda a, b: ev.compare_all([a, a], "NDCG@10"), "two evaluations are named 'a'"),
        (lambda a, b: ev.compare_all([a, b], "MRR@10"), "a was not measured by 'MRR@10'; accepted: NDCG@10"),
        (lambda a, b: ev.compare_all([b, a], "extra"), "a was not measured by 'extra'"),
        (lambda a, b: ev.compare_all([a, b], "NDCG@10", level=5), "level is 5"),
        (lambda a, b: ev.compare_all([a, b], "NDCG@10", n_permutations=0), "n_permutations is 0"),
        (lambda a, b: ev.compare_all([a, figures("c", user_id=range(1, 121))], "NDCG@10"), "same requests"),
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
    values = np.array([one.per_user["NDCG@10"] for one in seeds])
    assert table.index.tolist() == ["net", "knn"]
    assert table["seeds"].tolist() == [3, 1]
    assert table.loc["net", "NDCG@10"] == str(ev.seeds_interval(values))
    assert table.loc["net", "NDCG@10 sd over seeds"] == pytest.approx(
        np.std([one.per_user["NDCG@10"].mean() for one in seeds], ddof=1)
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
    both = ev.difference_over_seeds(first, second, "NDCG@10")
    users = ev.all_pairs([ev.seed_mean(first), *second], "NDCG@10")[0].difference
    assert both.mean == pytest.approx(users.mean)
    assert both.low < users.low < users.high < both.high


def test_the_mean_over_seeds_is_each_users_mean():
    seeds = [figures("net", seed=seed) for seed in range(3)]
    mean = ev.seed_mean(seeds)
    assert (mean.model, mean.protocol, mean.metrics) == ("net", seeds[0].protocol, seeds[0].metrics)
    assert mean.per_user["NDCG@10"].tolist() == pytest.approx(
        sum(one.per_user["NDCG@10"] for one in seeds) / 3
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
    assert ev.bare_differences(pd.DataFrame.from_dict(table, orient="index")) == bare


def test_no_table_of_the_package_shows_a_difference_without_its_interval(models):
    made = {
        "compare": ev.compare(models),
        "compare_with": ev.compare_with(models[0], models[1:], "NDCG@10"),
        "compare_all": ev.compare_all(models, "NDCG@10"),
        "over_seeds": ev.over_seeds([[one] for one in models]),
    }
    # A table that is added to the module has to be added here.
    makers = {
        name
        for name, function in inspect.getmembers(inspect.getmodule(ev.compare_all), inspect.isfunction)
        if not name.startswith("_") and inspect.signature(function).return_annotation == "pd.DataFrame"
    }
    assert makers == set(made)
    assert {name: ev.bare_differences(table) for name, table in made.items()} == dict.fromkeys(made, [])
    intervals = made["compare_all"]["NDCG@10 difference"]
    assert ev.bare_differences(made["compare_all"].assign(difference=intervals.str[:5])) == ["difference"]


class Tables(HTMLParser):
    """The tables of a cell's output as pandas writes them, spans of rows and columns filled in."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.frames: list[pd.DataFrame] = []
        self.rows: list[tuple[bool, list[list]]] = []
        self.head, self.cell = False, None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        span = dict(attrs)
        if tag == "table":
            self.rows = []
        elif tag in ("thead", "tbody"):
            self.head = tag == "thead"
        elif tag == "tr":
            self.rows.append((self.head, []))
        elif tag in ("th", "td") and self.rows:
            self.cell = [tag, "", int(span.get("colspan") or 1), int(span.get("rowspan") or 1)]
            self.rows[-1][1].append(self.cell)

    def handle_data(self, data):
        if self.cell is not None:
            self.cell[1] += data.strip()

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.cell = None
        elif tag == "table":
            self.frames.append(self._frame())

    def _frame(self) -> pd.DataFrame:
        heads, body, below = [], [], {}
        for is_head, row in self.rows:
            filled, cells = [], iter(row)
            while True:
                left, cell = below.get(len(filled), (0, None))
                if left:
                    below[len(filled)] = left - 1, cell
                    filled.append(cell)
                elif (new := next(cells, None)) is None:
                    break
                else:
                    for _ in range(new[2]):
                        below[len(filled)] = new[3] - 1, (new[0], new[1])
                        filled.append((new[0], new[1]))
            (heads if is_head else body).append(filled)
        n_index = sum(kind == "th" for kind, _ in body[0]) if body else 0
        columns = [
            " ".join(filter(None, names))
            for names in zip(*[[t for _, t in row] for row in heads], strict=True)
        ]
        return pd.DataFrame(
            [[text for _, text in row[n_index:]] for row in body],
            index=[" ".join(text for _, text in row[:n_index]) for row in body],
            columns=columns[n_index:] if body else columns,
        )


def shown_tables() -> list[tuple[str, pd.DataFrame]]:
    """Every table in the outputs of the book's notebooks."""
    return [
        (path.name, frame)
        for path in sorted(BOOK.glob("*.ipynb"))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
        if "<table" in (html := "".join(output.get("data", {}).get("text/html", [])))
        for frame in Tables(html).frames
    ]


def test_the_scan_reads_a_table_as_it_was_written(models):
    table = ev.compare_all(models, "NDCG@10")
    (read,) = Tables(table.to_html()).frames
    assert read.columns.tolist() == table.columns.tolist()
    assert read.index.tolist() == [" ".join(pair) for pair in table.index]
    assert read["NDCG@10 difference"].tolist() == table["NDCG@10 difference"].tolist()
    two = pd.DataFrame({("NDCG@10", "a"): [1], ("NDCG@10", "minus b"): [0.5]})
    (read,) = Tables(two.to_html()).frames
    assert ev.bare_differences(read) == ["NDCG@10 minus b"]


def test_no_table_of_the_book_shows_a_difference_without_its_interval():
    shown = shown_tables()
    with_difference = [name for name, frame in shown if " minus " in " ".join(map(str, frame.columns))]
    assert len(shown) > 50
    assert with_difference
    assert [(name, bare) for name, frame in shown if (bare := ev.bare_differences(frame))] == []
