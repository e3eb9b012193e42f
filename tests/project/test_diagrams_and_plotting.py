"""Diagrams need no network and have a text alternative; figures have Chinese glyphs."""

import warnings

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from instructrec import plotting
from instructrec.diagrams import flowchart
from instructrec.errors import InputError


def draw(**changes):
    arguments = {
        "nodes": {"a": "推荐系统", "b": "model"},
        "links": [("a", "b", "reads"), ("b", "a")],
        "title": "Two boxes",
        "description": "A recommender\nand its model.",
    }
    return flowchart(**(arguments | changes))


def test_a_diagram_is_a_mermaid_fence_with_a_text_alternative():
    bundle = draw()._repr_mimebundle_()
    lines = bundle["text/markdown"].split("\n")
    assert (lines[0], lines[-1]) == ("```mermaid", "```")
    assert lines[1] == "flowchart LR"
    assert "accTitle: Two boxes" in bundle["text/markdown"]
    assert "accDescr: A recommender and its model." in bundle["text/markdown"]
    assert 'a["推荐系统"]' in bundle["text/markdown"]
    assert bundle["text/plain"].startswith("<Diagram Two boxes")


def test_the_same_diagram_has_the_same_script():
    assert draw().script == draw().script


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": {"推荐": "x"}, "links": []},
        {"links": [("a", "c")]},
        {"direction": "UP"},
        {"shapes": {"z": "normal"}},
    ],
)
def test_an_invalid_diagram_is_rejected_in_one_line(changes):
    with pytest.raises(InputError) as caught:
        draw(**changes)
    assert "\n" not in str(caught.value)


def test_chinese_labels_have_glyphs():
    plotting.use_book_style()
    figure, ax = plt.subplots()
    ax.set_title("指令调优 recommendation")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    plt.close(figure)


def test_bars_show_each_row_and_its_interval():
    table = pd.DataFrame({"mean": [0.2, 0.4], "low": [0.1, 0.3], "high": [0.3, 0.6]}, index=["kNN", "流行"])
    ax = plotting.bars_with_intervals(table, "NDCG@10", reference=("chance", 0.1))
    assert [round(bar.get_width(), 3) for bar in ax.patches] == [0.2, 0.4]
    assert ax.get_xlabel() == "NDCG@10"
    plt.close("all")


def test_a_grid_writes_each_number():
    ax = plotting.number_grid(pd.DataFrame([[1.0, 2.0], [3.0, 4.5]]), "score")
    assert {text.get_text() for text in ax.texts} >= {"1.00", "4.50"}
    plt.close("all")


def test_a_curve_has_a_line_a_series():
    ax = plotting.learning_curve({"loss": [3, 2], "val_loss": [3, 2.5]})
    assert len(ax.lines) == 2
    assert ax.get_xlabel() == "epoch"
    plt.close("all")


def test_a_reliability_diagram_shows_filled_bins_their_intervals_and_the_diagonal():
    table = pd.DataFrame(
        {
            "mean_predicted": [0.1, float("nan"), 0.4],
            "share_of_yes": [0.2, float("nan"), 0.3],
            "low": [0.1, float("nan"), 0.25],
            "high": [0.3, float("nan"), 0.35],
            "n": [10, 0, 20],
        }
    )
    ax = plotting.reliability_diagram({"one": table, "two": table[:1]})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["calibrated", "one", "two"]
    diagonal, *_ = ax.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    line, _, [bars] = ax.containers[0]
    assert line.get_xydata().tolist() == [[0.1, 0.2], [0.4, 0.3]]
    ends = [segment[:, 1].round(9).tolist() for segment in bars.get_segments()]
    assert ends == [[0.1, 0.3], [0.25, 0.35]]
    assert 0.4 < ax.get_xlim()[1] == ax.get_ylim()[1] < 0.5
    plt.close("all")
