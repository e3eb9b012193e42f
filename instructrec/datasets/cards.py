"""A data set's card as text, for the command line and the chapters."""

from __future__ import annotations

from textwrap import fill

from instructrec.datasets.dataset import Dataset

WIDTH = 88


def format_card(dataset: Dataset) -> str:
    """Return the data card of a data set as text: its figures, origin, licence, citation and caveats.

    Args:
        dataset: Any data set; without a card only its figures are shown.

    Returns:
        Text of several lines, without a line end after the last.
    """
    card = dataset.card
    title = card.title if card else dataset.name
    figures = [
        f"  {name:<23}{value:>12,.0f}"
        if name in ("users", "items", "interactions")
        else f"  {name:<23}{value:>12.{4 if name == 'density' else 1}f}"
        for name, value in dataset.describe().items()
    ]
    lines = [title, "=" * len(title)]
    if card:
        lines += [fill(card.summary, WIDTH), ""]
    lines += figures
    if card:
        for name in ("source", "licence", "citation"):
            if text := getattr(card, name):
                lines += ["", fill(f"{name.capitalize()}: {text}", WIDTH, break_long_words=False)]
        if card.caveats:
            lines += ["", "Beware:"]
            lines += [fill(c, WIDTH, initial_indent="  - ", subsequent_indent="    ") for c in card.caveats]
    return "\n".join(lines)
