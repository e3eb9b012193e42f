"""The paper's claims, tested again at the scale of a laptop: what holds, what does not, what cannot be told here.

    python -m benchmarks.claims

Reads what `make smollm2-results`, `make paper` and `make mini-ablation` measured. A claim is about a difference or a
ratio of two figures, with a 95% interval over users; it holds if the whole interval is on the claim's side, it does not
if the whole interval is on the other, and else it cannot be told here. Where the claim is that something is small, the
sides are inside and outside of bounds that are stated with it. The paper is Zhang et al., 2023, arXiv:2305.07001, with
a model of three billion weights and other data: what is compared is the kind of effect, not its size. Its untuned
model is GPT-3.5, another one; ours is the same before tuning.

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
HOLDS, FAILS, UNTOLD = "holds", "does not hold", "cannot be told here"
MUCH = 0.05
"""An intention adds much if HR@1 rises by more."""
LITTLE = 0.02
"""Almost nothing is less than this, either way, of HR@1."""


class Claim(NamedTuple):
    """A claim and what became of it.

    Attributes:
        claim: In our words.
        paper: The paper's figures that it rests on.
        experiment: What was measured here.
        figure: Mean and the ends of its 95% interval.
        verdict: `HOLDS`, `FAILS` or `UNTOLD`.
    """

    claim: str
    paper: str
    experiment: str
    figure: tuple[float, float, float]
    verdict: str


def main() -> int:
    found = claims(*(read(name) for name in ("smollm2", "mini_ablation")))
    for one in found:
        mean, low, high = one.figure
        print(f"{one.verdict:<20} {one.claim}\n{'':<21}{one.experiment}: {mean:.3f} [{low:.3f}, {high:.3f}]")
    with atomic_write(FOLDER / "claims.json") as handle:
        json.dump([one._asdict() for one in found], handle, indent=1)
        handle.write("\n")
    return 0


def read(name: str) -> dict[str, Any]:
    """Return a file of results.

    Raises:
        InputError: It is not there.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise InputError(f"{str(path)!r} is not there; measure first")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def above(figure: tuple[float, float, float], bound: float) -> str:
    """Return the verdict on the claim that a figure is above a bound."""
    return HOLDS if figure[1] > bound else FAILS if figure[2] < bound else UNTOLD


def within(figure: tuple[float, float, float], low: float, high: float) -> str:
    """Return the verdict on the claim that a figure is between bounds."""
    if low < figure[1] and figure[2] < high:
        return HOLDS
    return FAILS if figure[2] < low or figure[1] > high else UNTOLD


def claims(smollm2: dict[str, Any], ablation: dict[str, Any]) -> list[Claim]:
    """Return all claims with their verdicts.

    Args:
        smollm2: What `benchmarks.smollm2` measured.
        ablation: What `benchmarks.mini_ablation` measured.
    """
    results, transfer = smollm2["results"], smollm2["transfer"]
    ratios = {
        (one["condition"], one["negatives"], one["of"], one["to"]): tuple(one["ratio"])
        for one in results["ratios"]
    }
    gains = {
        (one["of"], one["to"], one["model"]): tuple(one["HR@1"])
        for one in results["differences"]
        if one["negatives"] == "random"
    }

    def said(task: str, *models: str, metric: str = "HR@1") -> str:
        table = paper_figures(task).set_index("model")[metric]
        return ", ".join(f"{name} {table[name]:.4f}" for name in models)

    found = []
    figure = ratios["P1, I0", "random", "tuned", "zero-shot"]
    found.append(
        Claim(
            "Tuning on instructions beats an untuned language model by far (here: at least twice).",
            said("sequential", "InstructRec", "GPT-3.5 zero-shot") + " at HR@1",
            "SmolLM2 tuned / zero-shot, HR@1, history alone, 9 random negatives",
            figure,
            above(figure, 2),
        )
    )
    figure = ratios["P1, I0", "hard", "tuned", "zero-shot"]
    found.append(
        Claim(
            "Among SASRec's favourites, asked nothing, tuning beats zero-shot.",
            said("hard negatives", "InstructRec", "GPT-3.5 zero-shot") + " at HR@1",
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
            what = "vague wish" if intention == "I1" else "category"
            found.append(
                Claim(
                    f"A {what} beside the history adds much.",
                    f"{said('sequential', 'InstructRec')} without, {said(task, 'InstructRec')} with it",
                    f"{name}, HR@1 with a {what} less HR@1 without, 9 random negatives; much is more than {MUCH}",
                    figure,
                    above(figure, MUCH),
                )
            )
    figure = gains["P1 and P2, I0", "P1, I0", "tuned"]
    found.append(
        Claim(
            "The taste in words on top of the history adds almost nothing.",
            f"{said('sequential', 'InstructRec')} without, "
            f"{said('personalised search, P1 and P2', 'InstructRec')} with it",
            f"SmolLM2 tuned, HR@1 with the taste less HR@1 without, 9 random negatives; almost nothing is less "
            f"than {LITTLE}",
            figure,
            within(figure, -LITTLE, LITTLE),
        )
    )
    for model, name in (("tuned", "SmolLM2 tuned"), ("mini", "mini")):
        figure = ratios["P1, I0", "random", model, "sasrec"]
        found.append(
            Claim(
                "On histories alone it is a little better than SASRec (by up to a tenth).",
                said("sequential", "InstructRec", "SASRec"),
                f"{name} / SASRec, HR@1, 9 random negatives",
                figure,
                within(figure, 1, 1.1),
            )
        )
    figure = ratios["P1, I0", "hard", "tuned", "sasrec"]
    found.append(
        Claim(
            "Among SASRec's own favourites it is ahead of SASRec.",
            said("hard negatives", "InstructRec", "SASRec"),
            "SmolLM2 tuned / SASRec, HR@1, 9 hard negatives (which SASRec ranked first: a test made against it)",
            figure,
            above(figure, 1),
        )
    )
    figure = gains["P1, I2", "P0, I2", "tuned"]
    found.append(
        Claim(
            "A category with a history finds more than a category alone.",
            f"{said('personalised search, P1 and I2', 'InstructRec')} with, "
            f"{said('product search', 'InstructRec')} without a history",
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
        found.append(
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
    found.append(
        Claim(
            "What it learnt carries over to another domain, weakly.",
            f"{said('from games to CDs', 'InstructRec', 'Flan-T5-XL untuned')}",
            "SmolLM2 tuned on films less SmolLM2 zero-shot, HR@1 among ten products of the simulated shop",
            figure,
            above(figure, 0),
        )
    )
    return found


def difference(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Return the difference of two means; their intervals add up as of independent figures, which is wide if paired."""
    middle = first[0] - second[0]
    below = ((first[0] - first[1]) ** 2 + (second[2] - second[0]) ** 2) ** 0.5
    over = ((first[2] - first[0]) ** 2 + (second[0] - second[1]) ** 2) ** 0.5
    return round(middle, 5), round(middle - below, 5), round(middle + over, 5)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"benchmarks.claims: {error}")
