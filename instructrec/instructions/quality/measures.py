"""The quality of instructions, measured from their words: a table beside the paper's.

In the paper, people judged 100 preferences and 100 intentions (Zhang et al., 2023, arXiv:2305.07001). Here every part
is measured in the same way, whether rules or a teacher model wrote it: the lexicon finds the categories that its words
name, and the log says whether they hold. The measure sees only what the lexicon knows: praise of a director is
invisible to it, and a word such as "family" counts as a category even where it means something else. Derived in chapter
`instruction-generation`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.quality.counting import PartTally, distinct_n
from instructrec.instructions.quality.facts import DatasetFacts, FactsByDataset
from instructrec.instructions.quality.properties import PART_KINDS, PROPERTIES, parts_of, properties_of
from instructrec.instructions.schema import Instruction, Intention, Preference, TaskForm
from instructrec.statistics import Interval, wilson_interval
from instructrec.validation import PositiveInt, check_value

PAPER = "zhang2023instructrec"
"""Key of the paper in the book's bibliography."""
N_CELLS = len(Preference) * len(Intention) * len(TaskForm)
"""Number of combinations of preference, intention and task form."""
SAMPLE_SIZE = 2_000
"""Number of texts of each kind and language from which distinct-n is computed."""

_COUNT = "count"
_MEAN_LENGTH = {"en": "words, English", "zh": "characters, Chinese"}
_LANGUAGE_NAMES = {"en": "English", "zh": "Chinese"}
_WHOLE_TEXT = "instruction"


@dataclass(frozen=True)
class PartFigures:
    """The figures of one kind of part, such as the preferences derived from the history.

    Attributes:
        part: "preference" (P2), "intention" (I1, I2), "condition" (style parametric), or "instruction", the whole text.
        source: "oracle", "history", or "all".
        count: Number of parts.
        words: Mean number of words of the English texts, NaN without any.
        characters: Mean number of characters other than spaces of the Chinese texts, NaN without any.
        distinct: Distinct-n by language and n, of a sample, see `quality_table`.
        properties: Number of parts that have each of `PROPERTIES`; empty for the whole text.
        cells: The combinations of preference, intention and task that occur, by language.
    """

    part: str
    source: str
    count: int
    words: float
    characters: float
    distinct: dict[tuple[str, int], float]
    properties: dict[str, int]
    cells: dict[str, frozenset[tuple[Preference, Intention, TaskForm]]]

    def share(self, name: str) -> Interval:
        """Return the share of the parts that have a property, with its 95% Wilson interval.

        Args:
            name: A key of `PROPERTIES`.
        """
        return wilson_interval(self.properties[name], self.count)


def part_figures(
    instructions: Iterable[Instruction],
    datasets: Dataset | Sequence[Dataset] | DatasetFacts,
    *,
    history_share: float = 1 / 3,
    sample_size: int = SAMPLE_SIZE,
    seed: int = 0,
) -> list[PartFigures]:
    """Measure instructions as `quality_table` does, and return numbers rather than a table.

    Args:
        instructions: Any number of instructions.
        datasets: The data that they were made from.
        history_share: Share of the history in which a category must occur for a preference to reflect it, in (0, 1].
        sample_size: Texts of each kind and language from which distinct-n is computed, at least 1.
        seed: Seed of the sample.

    Returns:
        The figures of the whole texts, then those of each kind of part and source.

    Raises:
        InputError: An argument is not accepted, or an instruction names a data set that is not given.
    """
    if not 0 < history_share <= 1:
        raise InputError(f"history_share is {history_share!r}; a number above 0 and at most 1 is accepted")
    sample_size = check_value("sample_size", sample_size, PositiveInt)
    facts_by_dataset = FactsByDataset(datasets)
    tallies: dict[tuple[str, str], PartTally] = {}

    def tally_of(kind: str, source: str) -> PartTally:
        if (kind, source) not in tallies:
            tallies[kind, source] = PartTally(sample_size, f"{seed} {kind} {source}")
        return tallies[kind, source]

    for instruction in instructions:
        facts = facts_by_dataset.of(instruction)
        tally_of(_WHOLE_TEXT, "all").add(instruction.text, instruction)
        timeline = facts.timeline(instruction.user_id)
        for part in parts_of(instruction):
            tally = tally_of(part.kind, part.source)
            tally.add(part.text, instruction)
            if timeline is not None:
                tally.count_properties(
                    properties_of(part, instruction, facts, timeline, history_share, tally.draw())
                )
    order = (_WHOLE_TEXT, *PART_KINDS)
    keys = sorted(tallies, key=lambda key: (order.index(key[0]), key[1]))
    return [_figures_of(*key, tallies[key]) for key in keys]


def quality_table(
    instructions: Iterable[Instruction],
    datasets: Dataset | Sequence[Dataset] | DatasetFacts,
    *,
    history_share: float = 1 / 3,
    sample_size: int = SAMPLE_SIZE,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure instructions and their parts from the words alone, reading a stream once in bounded memory.

    The following is measured of each preference (P2), intention (I1, I2) and condition (style parametric) that is in
    words, in the text or in the response, by its source:

    - `count`; mean length in words (English) or characters other than spaces (Chinese).
    - distinct-n = distinct n-grams / n-grams (Li et al., 2016, arXiv:1510.03055), of words or of Chinese characters,
      over a uniform reservoir sample of `sample_size` texts of each language, since the figure falls with the number of
      texts. The same stream and seed give the same sample.
    - cells: how many of the 36 combinations of preference, intention and task occur, over all instructions.
    - names a category: a category, or a synonym or wish for it, is mentioned with favour.
    - from the user's own data: it mentions a category or a decade, and all that it mentions with favour occur among the
      user's items before the cut.
    - adds world knowledge: it says something beyond the titles of the user's items, names of categories, and the
      data's own fields: a wish or a synonym of the lexicon, or any other word that carries meaning.
    - reflects what is stated: for a preference, a category that it names occurs in at least `history_share` of the
      history; for an intention or condition, in the user's next item.
    - related to the target: a category that it names is one of the next item's. For an intention that is the same as
      to reflect it.
    - related to a random item: the same of an item drawn uniformly from the catalogue, the level to beat.

    The paper's shares are people's judgement of 100 samples each. They understood meaning where this measure finds
    words, and judged whether a preference fits a user as a whole, where this measure asks for one category that holds.
    Compare them in kind, not in the second digit.

    Args:
        instructions: Any number of instructions.
        datasets: The data that they were made from.
        history_share: Share of the history in which a category must occur for a preference to reflect it, in (0, 1].
        sample_size: Number of texts of each kind and language from which distinct-n is computed.
        seed: Seed of the sample.

    Returns:
        A row per measure and a column per kind and source, such as "preference, history"; shares read
        "mean [low, high]" with 95% Wilson intervals; a figure that does not exist is "–".

    Raises:
        InputError: An argument is not accepted, or an instruction names a data set that is not given.
    """
    columns = {
        "whole text" if figures.part == _WHOLE_TEXT else f"{figures.part}, {figures.source}": _column(figures)
        for figures in part_figures(
            instructions, datasets, history_share=history_share, sample_size=sample_size, seed=seed
        )
    }
    return pd.DataFrame(columns).rename_axis("measure")


def paper_table() -> pd.DataFrame:
    """Return the paper's figures of its instructions (Tables 2 and 3 there), in the rows of `quality_table`.

    Its 23.5 words are the mean over preferences and intentions together, its 41.4 words that of its 39 templates. The
    shares are of 100 judged samples each, here with the Wilson interval of so small a sample. `attrs["citation"]` is
    the key in the book's bibliography.

    Returns:
        Columns "preference, paper", "intention, paper" and "whole text, paper"; "–" where the paper gives no figure.
    """
    n_judged = 100
    counts = {"preference": 151_638, "intention": 101_092}
    n_agreed = {
        "preference": {"own": 93, "knowledge": 87, "reflects": 88, "related": 48},
        "intention": {"own": 90, "knowledge": 22, "reflects": 69, "related": 69},
    }
    words = _MEAN_LENGTH["en"]
    columns = {
        f"{part}, paper": {
            _COUNT: f"{counts[part]:,}",
            words: _format(23.5),
            **{
                PROPERTIES[name]: str(wilson_interval(number, n_judged))
                for name, number in n_agreed[part].items()
            },
        }
        for part in counts
    }
    columns["whole text, paper"] = {_COUNT: f"{sum(counts.values()):,}", words: _format(41.4)}
    rows = [_COUNT, words, *(PROPERTIES[name] for name in n_agreed["preference"])]
    table = pd.DataFrame(columns).reindex(rows).fillna("–").rename_axis("measure")
    table.attrs["citation"] = PAPER
    return table


def beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `quality_table` with the paper's columns beside its own, part by part.

    Args:
        table: A result of `quality_table`.
    """
    joined = pd.concat([paper_table().reindex(table.index), table], axis=1).fillna("–")
    part_order = (*PART_KINDS, "whole text")
    joined = joined[sorted(joined.columns, key=lambda name: part_order.index(str(name).split(",")[0]))]
    joined.attrs["citation"] = PAPER
    return joined


def _figures_of(part: str, source: str, tally: PartTally) -> PartFigures:
    return PartFigures(
        part,
        source,
        tally.count,
        tally.mean_length("en"),
        tally.mean_length("zh"),
        {
            (language, n): distinct_n(sample, n, language)
            for language, sample in tally.samples.items()
            for n in (1, 2)
            if sample
        },
        {} if part == _WHOLE_TEXT else {name: tally.properties.get(name, 0) for name in PROPERTIES},
        {language: frozenset(cells) for language, cells in tally.cells.items()},
    )


def _column(figures: PartFigures) -> dict[str, str]:
    column = {
        _COUNT: f"{figures.count:,}",
        _MEAN_LENGTH["en"]: _format(figures.words),
        _MEAN_LENGTH["zh"]: _format(figures.characters),
    }
    for language, name in _LANGUAGE_NAMES.items():
        for n in (1, 2):
            column[f"distinct-{n}, {name}"] = _format(figures.distinct.get((language, n), math.nan), 3)
    for language, name in _LANGUAGE_NAMES.items():
        n_cells = "–" if figures.properties else str(len(figures.cells[language]))
        column[f"cells of {N_CELLS}, {name}"] = n_cells
    for key, row in PROPERTIES.items():
        column[row] = str(figures.share(key)) if figures.properties else "–"
    return column


def _format(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
