"""Tables and figures of a results file: right numbers, no difference without its interval, files that are whole."""

import itertools
import json
import re
import tomllib
from importlib.resources import files

import matplotlib

matplotlib.use("agg")
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy.stats import kendalltau

from instructrec import cli, plotting
from instructrec.datasets.readers import from_csv
from instructrec.errors import InputError
from instructrec.evaluation import (
    bootstrap_interval,
    difference_over_seeds,
    evaluate,
    paired_difference,
    randomisation_test,
    seed_mean,
    seeds_difference,
)
from instructrec.evaluation.experiment import ModelSpec, run_experiment
from instructrec.evaluation.paper import chance, paper_figures, paper_metrics, paper_tasks
from instructrec.evaluation.report import markdown, report
from instructrec.evaluation.report.tables import kendall_tau
from instructrec.evaluation.results import Results
from instructrec.models import create
from instructrec.split import leave_last_out
from instructrec.statistics.intervals import seeds_differences
from tests.differences import bare_differences

SETS = ("whole catalogue", "9 random negatives", "9 hard negatives by popular")
CELL = re.compile(r"-?\d+\.\d{3} \[-?\d+\.\d{3}, -?\d+\.\d{3}\]")
TABLES = {"accuracy", "beyond-accuracy", "cost", "pairs", "seeds", "samples", "reordered"}
PAPER = {"as-in-the-paper-random-10", "as-in-the-paper-hard-10-popular"}
FIGURES = {"critical-difference", "intervals", "by-k", "accuracy-against-cost", "order"}


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    rng = np.random.default_rng(1)
    weights = 1 / np.arange(1, 41)
    rows = [
        (user, 100 + int(item))
        for user in range(1, 61)
        for item in rng.choice(40, 9, replace=False, p=weights / weights.sum())
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id"]).assign(
        rating=4.0, timestamp=rng.permutation(len(rows))
    )
    path = tmp_path_factory.mktemp("data") / "events.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def results(csv, tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "results.json"
    models = [
        ModelSpec("guess", "random"),
        ModelSpec("popular", "most-popular"),
        ModelSpec("neighbours", "item-knn", {"k": 5}),
    ]
    protocols = ("leave-last-out", "global-time")
    run_experiment(models, from_csv(csv), path, protocols, SETS, seeds=(0, 1, 2), progress=False)
    return path


@pytest.fixture(scope="module")
def built(results):
    return report(results)


# -- tables --------------------------------------------------------------------------------------------------------


def test_every_table_and_figure_of_every_protocol_is_there(built):
    expected = {f"{name}-leave-last-out" for name in TABLES | PAPER} | {
        f"{name}-global-time" for name in TABLES
    }
    assert set(built.tables) == set(built.numbers) == expected
    assert set(built.figures) == {
        f"{name}-{split}" for name in FIGURES for split in ("leave-last-out", "global-time")
    }
    assert set(built.captions) == set(built.tables) | set(built.figures)
    assert not set(built.tables) & set(built.figures)
    assert all("events" in caption or "paper" in caption for caption in built.captions.values())


def test_no_table_shows_a_difference_or_a_mean_without_its_interval(built):
    for name, table in built.tables.items():
        assert bare_differences(table) == [], name
    for name in ("accuracy-leave-last-out", "accuracy-global-time"):
        assert all(CELL.fullmatch(cell) for cell in built.tables[name].to_numpy().ravel()), built.tables[name]
    assert bare_differences(pd.DataFrame({"difference": ["0.1"]})) == ["difference"]


def test_figures_of_accuracy_are_those_of_the_evaluation(csv, built):
    split = leave_last_out(from_csv(csv))
    loaded = evaluate(create("item-knn", k=5).fit(split.train), split)
    numbers = built.numbers["accuracy-leave-last-out"].loc["neighbours"]
    for metric in ("HR@10", "NDCG@10", "MRR@10"):
        interval = bootstrap_interval(loaded.per_user[metric])
        assert (numbers[metric], numbers[f"{metric} low"], numbers[f"{metric} high"]) == interval
        assert built.tables["accuracy-leave-last-out"].loc["neighbours", metric] == str(interval)
    assert "recall@10" not in built.tables["accuracy-leave-last-out"]
    assert "recall@10" in built.tables["accuracy-global-time"]  # where a request has several targets


def test_models_are_in_descending_order_and_ranks_agree(built):
    for protocol in ("leave-last-out", "global-time"):
        means = built.numbers[f"accuracy-{protocol}"]["NDCG@10"]
        assert means.is_monotonic_decreasing
        samples = built.numbers[f"samples-{protocol}"]
        assert samples["rank, whole catalogue"].tolist() == [1, 2, 3]
        for name, short in zip(SETS, ("whole catalogue", "9 random", "9 hard by popular"), strict=True):
            ranks = samples[name].rank(ascending=False, method="min").astype(int)
            assert samples[f"rank, {short}"].tolist() == ranks.tolist()


def test_a_model_of_several_seeds_counts_with_their_mean(results, built):
    loaded = Results.load(results)
    means = [
        loaded.evaluation("guess", "leave-last-out", seed=seed).per_user["NDCG@10"].mean()
        for seed in (0, 1, 2)
    ]
    row = built.numbers["seeds-leave-last-out"].loc["guess"]
    assert row["NDCG@10"] == pytest.approx(np.mean(means))
    assert row["sd over seeds"] == pytest.approx(np.std(means, ddof=1))
    assert (row["lowest"], row["highest"]) == (min(means), max(means))
    assert list(built.tables["seeds-leave-last-out"].index) == ["guess"]
    width_over_both = row["NDCG@10 high"] - row["NDCG@10 low"]
    assert width_over_both > row["over users alone high"] - row["over users alone low"]


def test_a_pair_of_several_seeds_has_an_interval_for_users_and_seeds(results, built):
    loaded = Results.load(results)
    seeds = {
        label: [
            loaded.evaluation(label, "leave-last-out", seed=seed)
            for seed in loaded.seeds(label, "leave-last-out")
        ]
        for label in loaded.labels("leave-last-out")
    }
    assert {label: len(entry) for label, entry in seeds.items()} == {
        "guess": 3,
        "popular": 1,
        "neighbours": 1,
    }
    numbers, name = built.numbers["pairs-leave-last-out"], "NDCG@10 difference"
    assert len(numbers) == 3
    for (first, second), row in numbers.iterrows():
        expected = difference_over_seeds(seeds[first], seeds[second], "NDCG@10")
        assert row[[name, f"{name} low", f"{name} high"]].tolist() == pytest.approx(expected, abs=1e-12)
        means = [seed_mean(seeds[label]).per_user["NDCG@10"] for label in (first, second)]
        assert row["p"] == randomisation_test(*means)
        over_users = paired_difference(*means)
        assert (row[f"{name} low"] == pytest.approx(over_users.low, abs=1e-6)) == (
            "guess" not in (first, second)
        )
    caption = built.captions["pairs-leave-last-out"]
    assert "with several seeds over users and seeds" in caption
    assert "conditional on the seeds trained" in caption
    assert list(built.tables["pairs-leave-last-out"]) == [name, "p", "p (Holm)", "significant"]


def test_pairs_of_many_models_are_those_of_two():
    rng = np.random.default_rng(0)
    models = [rng.random((3, 943)) for _ in range(12)]
    pairs = list(itertools.combinations(range(12), 2))
    loaded = seeds_differences(models, pairs)
    assert loaded[-1] == pytest.approx(seeds_difference(models[10], models[11]), abs=1e-12)
    with pytest.raises(InputError, match="943 users against 900"):
        seeds_differences([models[0], models[1][:, :900]], [(0, 1)])


def test_figures_beyond_accuracy_come_from_the_lists(results, built):
    lists = Results.load(results).run("popular", "leave-last-out").lists
    row = built.numbers["beyond-accuracy-leave-last-out"].loc["popular"]
    assert row["coverage"] == pytest.approx(len(np.unique(lists[lists >= 0])) / 40)
    assert 0 < row["Gini of exposure"] < 1
    assert row["novelty (bits) low"] < row["novelty (bits)"] < row["novelty (bits) high"]


def test_kendalls_tau_against_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.random((50, 7)), rng.random((50, 7))
    expected = [kendalltau(a, b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(kendall_tau(first, second), expected, atol=1e-12)
    assert kendall_tau(first[0], first[0]) == 1
    assert kendall_tau(first[0], -first[0]) == -1


def test_a_sample_that_reverses_the_order_is_told(built):
    row = built.numbers["reordered-leave-last-out"].loc["9 hard negatives by popular"]
    whole = built.numbers["samples-leave-last-out"]
    expected = kendalltau(whole["whole catalogue"], whole["9 hard negatives by popular"]).statistic
    assert row["Kendall's tau"] == pytest.approx(expected)
    assert row["reversed"] == round((1 - expected) / 2 * 3)
    assert row["significantly"] <= row["reversed"] <= row["pairs"] == 3
    assert row["reversed"] > 0  # popular's own negatives are hard on popular first


# -- the paper -----------------------------------------------------------------------------------------------------


def test_the_papers_rows_stand_beside_and_are_named_as_such(built):
    for name in PAPER:
        table = built.tables[f"{name}-leave-last-out"]
        assert set(table.index.get_level_values("from")) == {"here", "paper"}
        assert ("InstructRec", "paper") in table.index
        assert list(table.columns) == list(paper_metrics())
        assert "never a row here with a row there" in built.captions[f"{name}-leave-last-out"]
    assert (
        built.numbers["as-in-the-paper-random-10-leave-last-out"].loc[("InstructRec", "paper"), "HR@1"]
        == 0.6947
    )
    for name in PAPER:  # one of ten, whoever chose the other nine
        numbers = built.numbers[f"{name}-leave-last-out"]
        assert numbers.loc[("chance", "here"), list(paper_metrics())].tolist() == [
            chance(metric, 10) for metric in paper_metrics()
        ]
        sources = list(numbers.index.get_level_values("from"))
        assert numbers.index[sources.index("paper") - 1] == ("chance", "here")


def test_the_papers_figures_are_whole_and_of_one_kind():
    table = paper_figures()
    assert len(table) == len(table.drop_duplicates(["task", "model"])) == 24
    assert set(table["task"]) == set(paper_tasks())
    values = table[list(paper_metrics())]
    assert values.notna().all(axis=None)
    assert ((values > 0) & (values < 1)).all(axis=None)
    # a hit counts for more the longer the list, and NDCG never more than the hit
    assert (table["HR@1"] <= table["HR@3"]).all()
    assert (table["HR@3"] <= table["HR@5"]).all()
    assert (table["NDCG@3"] <= table["HR@3"]).all()
    assert (table["HR@1"] <= table["NDCG@3"]).all()
    assert (table["NDCG@3"] <= table["NDCG@5"]).all()
    raw = tomllib.loads(files("instructrec.evaluation").joinpath("paper.toml").read_text("utf-8"))
    assert raw["citation"] == "zhang2023instructrec"
    with pytest.raises(InputError, match="did you mean sequential"):
        paper_figures("sequental")


def test_chance_is_what_the_paper_says_and_what_guesses_earn():
    assert [round(chance(metric, 10), 3) for metric in paper_metrics()] == [0.1, 0.3, 0.5, 0.213, 0.295]
    ranks = np.random.default_rng(0).integers(1, 8, 200_000)
    assert chance("NDCG@5", 7) == pytest.approx(
        np.where(ranks <= 5, 1 / np.log2(ranks + 1), 0).mean(), abs=0.005
    )
    assert chance("HR@20", 10) == 1
    assert chance("MRR@2", 4) == (1 + 1 / 2) / 4
    for wrong in ("AUC@3", "HR", "HR@0"):
        with pytest.raises(InputError, match="HR@10"):
            chance(wrong, 10)
    with pytest.raises(InputError, match="n_candidates"):
        chance("HR@1", 0)


# -- files ---------------------------------------------------------------------------------------------------------


def test_everything_is_written_and_read_back(results, built, tmp_path):
    out = tmp_path / "report"
    again = report(results, out)
    names = {path.name for path in out.iterdir()}
    expected = {f"{name}.{ending}" for name in built.tables for ending in ("csv", "md")}
    expected |= {f"{name}.{ending}" for name in built.figures for ending in ("png", "svg")}
    assert names == expected | {"report.md"}
    read = pd.read_csv(out / "accuracy-leave-last-out.csv", index_col=0)
    pd.testing.assert_frame_equal(read, built.numbers["accuracy-leave-last-out"], check_dtype=False)
    text = (out / "report.md").read_text("utf-8")
    for name in built.captions:
        assert built.captions[name] in text
    assert set(re.findall(r"\]\((.+?)\.png\)", text)) == set(built.figures)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again.save(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path for path in tmp_path.iterdir() if path != out] == []


def test_a_folder_of_other_files_and_a_bad_results_file_leave_no_trace(results, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("mine")
    bad = tmp_path / "bad.json"
    bad.write_text(results.read_text("utf-8")[:-100])
    for source, out, message_part in (
        (results, tmp_path / "mine", "other files"),
        (results, bad, "is a file"),
        (bad, tmp_path / "out", "bad.json"),
        (tmp_path / "none.json", tmp_path / "out", "none.json"),
    ):
        with pytest.raises(InputError, match=message_part) as caught:
            report(source, out)
        assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "bad.json"}
    with pytest.raises(InputError, match="did you mean NDCG"):
        report(results, metric="NDGC")
    with pytest.raises(InputError, match="no run on part 'valid'"):
        report(results, part="valid")


def test_figures_leave_the_style_and_the_notebook_alone(results):
    before, style = plt.get_fignums(), dict(mpl.rcParams)
    report(results)
    assert plt.get_fignums() == before
    assert dict(mpl.rcParams) == style


def test_one_model_alone_has_no_pairs_and_still_a_report(csv, tmp_path):
    loaded = run_experiment([ModelSpec("popular", "most-popular")], from_csv(csv), progress=False)
    built = report(loaded, tmp_path / "out")
    assert set(built.tables) == {f"{name}-leave-last-out" for name in ("accuracy", "beyond-accuracy", "cost")}
    assert (tmp_path / "out" / "intervals-leave-last-out.png").stat().st_size > 0


def test_markdown_keeps_cells_apart():
    table = pd.DataFrame(
        {"a|b": ["x | y", "z"], "n": ["0.1", "< 0.001"]}, index=pd.Index(["p", "q"], name="model")
    )
    lines = markdown(table).splitlines()
    assert lines[1] == "|---|---|---:|"
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in lines)


# -- figures -------------------------------------------------------------------------------------------------------

MEANS = {"a": 0.5, "b": 0.4, "c": 0.3, "d": 0.2}


@pytest.mark.parametrize(
    ("insignificant_pairs", "expected"),
    [
        ([], []),
        ([("a", "b")], [["a", "b"]]),
        ([("b", "a"), ("c", "b")], [["a", "b"], ["b", "c"]]),
        ([("a", "b"), ("b", "c"), ("a", "c")], [["a", "b", "c"]]),
        ([("a", "c")], []),  # the model between differs from both
        ([("a", "b"), ("b", "c"), ("c", "d"), ("b", "d"), ("a", "c")], [["a", "b", "c"], ["b", "c", "d"]]),
    ],
)
def test_bars_join_models_of_which_no_two_are_significant(insignificant_pairs, expected):
    assert plotting.insignificant_groups(list(MEANS), insignificant_pairs) == expected
    ax = plotting.critical_difference(MEANS, insignificant_pairs, "NDCG@10")
    bars = [line for line in ax.lines if line.get_linewidth() == 4]
    assert len(bars) == len(expected)
    for bar, group in zip(bars, expected, strict=True):
        low, high = min(bar.get_xdata()), max(bar.get_xdata())
        assert {name for name, mean in MEANS.items() if low <= mean <= high} == set(group)
    assert {text.get_text() for text in ax.texts} >= set(MEANS)
    plt.close("all")


def test_names_beside_lines_and_points_are_all_there_and_apart():
    plotting.use_book_style()
    names = [f"model {number}" for number in range(12)]
    values = np.linspace(0.1, 0.12, 12)
    curve = pd.DataFrame({name: np.linspace(0, value, 5) for name, value in zip(names, values, strict=True)})
    table = pd.DataFrame(
        {"mean": values, "low": values - 0.01, "high": values + 0.01, "cost": 1.0}, index=names
    )
    for ax in (
        plotting.metric_by_k(curve.set_axis([1, 2, 5, 10, 20]), "NDCG@k"),
        plotting.rank_changes(pd.DataFrame({"all": values, "few": values[::-1]}, index=names)),
    ):
        ax.figure.canvas.draw()
        boxes = [Text.get_window_extent(text) for text in ax.texts if text.get_text().startswith("model")]
        assert {text.get_text() for text in ax.texts} >= set(names)
        for number, entry in enumerate(boxes):
            assert not any(entry.overlaps(other_box) for other_box in boxes[:number])
    ax = plotting.accuracy_cost(table, "NDCG@10", "seconds")
    assert sorted(text.get_text() for text in ax.texts) == sorted(names)
    plt.close("all")


# -- the command line ----------------------------------------------------------------------------------------------


def test_compare_and_report_on_the_command_line(csv, tmp_path, capsys):
    out = tmp_path / "results.json"
    words = ["compare", "--models", "random, most-popular,item-knn", "--data", str(csv), "--out", str(out)]
    words += ["--set", "item-knn.k=5", "--seeds", "2", "--negatives", "3,9", "--hard-negatives", "3:item-knn"]
    assert cli.main(words) == 0
    output, progress = capsys.readouterr()
    assert "item-knn" in output
    assert "significant" in output
    assert "item-knn (leave-last-out)" in progress
    assert "instructrec report" in progress
    loaded = Results.load(out)
    assert loaded.labels() == ["random", "most-popular", "item-knn"]
    assert loaded.run("item-knn", "leave-last-out").settings["k"] == 5
    assert loaded.seeds("random", "leave-last-out") == [0, 1]
    sets = ["whole catalogue", "3 random negatives", "9 random negatives", "3 hard negatives by item-knn"]
    assert loaded.candidates("leave-last-out") == sets
    before = out.read_bytes()
    assert cli.main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert out.read_bytes() == before
    assert document["runs"] == 4
    assert {row["model"] for row in document["tables"]["accuracy-leave-last-out"]} == set(loaded.labels())
    assert cli.main(["report", str(out), "--out", str(tmp_path / "report"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["written"]) == len(list((tmp_path / "report").iterdir()))
    assert cli.main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    assert "item-knn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message_part"),
    [
        ("--models most-popularr", "did you mean most-popular"),
        ("--models ,", "models is"),
        ("--models random,random", "twice"),
        ("--models random --set item-knn.k=5", "model in --set"),
        ("--models item-knn --set k=5", "item-knn.k=50"),
        ("--models item-knn --set item-knn.kk=5", "setting of item-knn"),
        ("--models random --negatives 9,many", "many"),
        ("--models random --negatives 0", "'0'"),
        ("--models random --negatives 9,9", "twice"),
        ("--models random --negatives 999", "unseen"),
        ("--models random --hard-negatives 9", "9:item-knn"),
        ("--models random --hard-negatives 9:item-knn", "accepted: random"),
        ("--models random --protocol future", "future"),
        ("--models random --seeds 0", "at least 1"),
        ("--models random --set random.seed=1", "seed stands"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(csv, tmp_path, capsys, words, message_part):
    out = tmp_path / "results.json"
    assert cli.main(["compare", "--data", str(csv), "--out", str(out), *words.split()]) == 2
    output, messages = capsys.readouterr()
    assert output == ""
    last = messages.splitlines()[-1]
    assert last.startswith("instructrec: error: ")
    assert message_part in last
    assert "Traceback" not in messages
    assert not out.exists()
