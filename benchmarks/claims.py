"""The paper's claims, tested again at the scale of a laptop: those that hold, that do not, and that stay undecided.

    python -m benchmarks.claims

Reads the results of `make smollm2-results`, `make paper` and `make mini-ablation`. A claim is about a difference or a
ratio of two figures, with a 95% interval over users. It holds if the whole interval is on the claim's side, it does not
hold if the whole interval is on the opposite side, and otherwise it is undecided. For a claim that an effect is small,
the sides are inside and outside of bounds that are stated with it. The paper is Zhang et al., 2023, arXiv:2305.07001,
with a model of three billion weights and other data: we compare the kind of effect, not its size. Its untuned model is
GPT-3.5, which differs from the tuned one; ours is the same model before tuning.

Writes benchmarks/results/claims.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from instructrec.errors import InputError
from instructrec.evaluation.paper import paper_figures
from instructrec.files import atomic_write

FOLDER = Path(__file__).with_name("results")
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "cannot be told here"
LARGE_GAIN = 0.05
"""An intention adds much if HR@1 rises by more than this."""
SMALL_CHANGE = 0.02
"""A change of HR@1 by less than this, up or down, counts as almost nothing."""


class Claim(NamedTuple):
    """A claim of the paper with our verdict.

    Attributes:
        claim: The claim in our words.
        paper: The paper's figures behind it.
        experiment: The quantity measured here.
        figure: Mean and the bounds of its 95% interval.
        verdict: `HOLDS`, `FAILS` or `UNDECIDED`.
    """

    claim: str
    paper: str
    experiment: str
    figure: tuple[float, float, float]
    verdict: str


def main() -> int:
    checked = claims(*(read(name) for name in ("smollm2", "mini_ablation")))
    for claim in checked:
        mean, low, high = claim.figure
        print(
            f"{claim.verdict:<20} {claim.claim}\n{'':<21}{claim.experiment}: {mean:.3f} [{low:.3f}, {high:.3f}]"
        )
    with atomic_write(FOLDER / "claims.json") as handle:
        json.dump([claim._asdict() for claim in checked], handle, indent=1)
        handle.write("\n")
    return 0


def read(name: str) -> dict[str, Any]:
    """Read a file of results.

    Raises:
        InputError: The file is missing.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise InputError(f"{str(path)!r} is missing; measure first")
    results: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return results


def above(figure: tuple[float, float, float], bound: float) -> str:
    """Return the verdict on the claim that a figure is above a bound."""
    return HOLDS if figure[1] > bound else FAILS if figure[2] < bound else UNDECIDED


def within(figure: tuple[float, float, float], low: float, high: float) -> str:
    """Return the verdict on the claim that a figure is between bounds."""
    if low < figure[1] and figure[2] < high:
        return HOLDS
    return FAILS if figure[2] < low or figure[1] > high else UNDECIDED


def claims(smollm2: dict[str, Any], ablation: dict[str, Any]) -> list[Claim]:
    """Return all claims with their verdicts.

    Args:
        smollm2: Results of `benchmarks.smollm2`.
        ablation: Results of `benchmarks.mini_ablation`.
    """
    results, transfer = smollm2["results"], smollm2["transfer"]
    ratios = {
        (row["condition"], row["negatives"], row["of"], row["to"]): tuple(row["ratio"])
        for row in results["ratios"]
    }
    gains = {
        (row["of"], row["to"], row["model"]): tuple(row["HR@1"])
        for row in results["differences"]
        if row["negatives"] == "random"
    }

    def paper_text(task: str, *models: str, metric: str = "HR@1") -> str:
        table = paper_figures(task).set_index("model")[metric]
        return ", ".join(f"{name} {table[name]:.4f}" for name in models)

    checked = []
    figure = ratios["P1, I0", "random", "tuned", "zero-shot"]
    checked.append(
        Claim(
            "Tuning on instructions beats an untuned language model by far (here: at least twice).",
            paper_text("sequential", "InstructRec", "GPT-3.5 zero-shot") + " at HR@1",
            "SmolLM2 tuned / zero-shot, HR@1, history alone, 9 random negatives",
            figure,
            above(figure, 2),
        )
    )
    figure = ratios["P1, I0", "hard", "tuned", "zero-shot"]
    checked.append(
        Claim(
            "Among SASRec's favourites, asked nothing, tuning beats zero-shot.",
            paper_text("hard negatives", "InstructRec", "GPT-3.5 zero-shot") + " at HR@1",
            "SmolLM2 tuned / zero-shot, HR@1, history alone, 9 hard negatives",
            figure,
            above(figure, 1),
        )
    )
    for intention, task in (
        ("I1", "personalised search, P1 and I1"),
        ("I2", "personalised search, P1 and I2"),
    ):
        for model, name in (("tuned", "SmolLM2 tuned"), ("mini", "mini")):
            figure = gains[f"P1, {intention}", "P1, I0", model]
            request = "vague wish" if intention == "I1" else "category"
            checked.append(
                Claim(
                    f"A {request} beside the history adds much.",
                    f"{paper_text('sequential', 'InstructRec')} without, {paper_text(task, 'InstructRec')} with it",
                    f"{name}, HR@1 with a {request} less HR@1 without, 9 random negatives; much is more than "
                    f"{LARGE_GAIN}",
                    figure,
                    above(figure, LARGE_GAIN),
                )
            )
    figure = gains["P1 and P2, I0", "P1, I0", "tuned"]
    checked.append(
        Claim(
            "The taste in words on top of the history adds almost nothing.",
            f"{paper_text('sequential', 'InstructRec')} without, "
            f"{paper_text('personalised search, P1 and P2', 'InstructRec')} with it",
            f"SmolLM2 tuned, HR@1 with the taste less HR@1 without, 9 random negatives; almost nothing is less "
            f"than {SMALL_CHANGE}",
            figure,
            within(figure, -SMALL_CHANGE, SMALL_CHANGE),
        )
    )
    for model, name in (("tuned", "SmolLM2 tuned"), ("mini", "mini")):
        figure = ratios["P1, I0", "random", model, "sasrec"]
        checked.append(
            Claim(
                "On histories alone it is a little better than SASRec (by up to a tenth).",
                paper_text("sequential", "InstructRec", "SASRec"),
                f"{name} / SASRec, HR@1, 9 random negatives",
                figure,
                within(figure, 1, 1.1),
            )
        )
    figure = ratios["P1, I0", "hard", "tuned", "sasrec"]
    checked.append(
        Claim(
            "Among SASRec's own favourites it is ahead of SASRec.",
            paper_text("hard negatives", "InstructRec", "SASRec"),
            "SmolLM2 tuned / SASRec, HR@1, 9 hard negatives (which SASRec ranked first: a test made against it)",
            figure,
            above(figure, 1),
        )
    )
    figure = gains["P1, I2", "P0, I2", "tuned"]
    checked.append(
        Claim(
            "A category with a history finds more than a category alone.",
            f"{paper_text('personalised search, P1 and I2', 'InstructRec')} with, "
            f"{paper_text('product search', 'InstructRec')} without a history",
            "SmolLM2 tuned, HR@1 with a category and the history less HR@1 with the category alone, 9 random negatives",
            figure,
            above(figure, 0),
        )
    )
    plain = ablation["texts: categories alone"]["rows"]
    for condition, claim, tuned_on, name in (
        (
            "vague wish",
            "More kinds of instructions help with a kind that was left out.",
            "eight kinds without wishes",
            "no wishes",
        ),
        (
            "unseen wording",
            "More kinds of instructions help with unseen wordings of one kind.",
            "all kinds",
            "as it is",
        ),
    ):
        figure = difference(
            ablation[f"texts: {name}"]["rows"][condition]["obeyed"], plain[condition]["obeyed"]
        )
        checked.append(
            Claim(
                claim,
                "shown as a picture",
                f"mini (validation, one seed), satisfaction@10 under “{condition}”, tuned on {tuned_on} less tuned on "
                "categories alone",
                figure,
                above(figure, 0),
            )
        )
    figure = tuple(transfer["tuned - zero-shot"])
    checked.append(
        Claim(
            "What it learnt carries over to another domain, weakly.",
            f"{paper_text('from games to CDs', 'InstructRec', 'Flan-T5-XL untuned')}",
            "SmolLM2 tuned on films less SmolLM2 zero-shot, HR@1 among ten products of the simulated shop",
            figure,
            above(figure, 0),
        )
    )
    return checked


def difference(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Return the difference of two means, its interval as for independent figures: too wide if they are paired."""
    mean = first[0] - second[0]
    below = ((first[0] - first[1]) ** 2 + (second[2] - second[0]) ** 2) ** 0.5
    above_mean = ((first[2] - first[0]) ** 2 + (second[0] - second[1]) ** 2) ** 0.5
    return round(mean, 5), round(mean - below, 5), round(mean + above_mean, 5)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.claims: {error}")
