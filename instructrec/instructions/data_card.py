"""The data card beside a file of instructions: its content, how it was generated, and the terms of its use.

Markdown with a YAML header, as data set hubs read it. Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from instructrec import __version__
from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.errors import one_of
from instructrec.instructions.quality.counting import text_length
from instructrec.instructions.schema import RULES, Instruction

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[str | bool | None, ...]
KEY_FIELDS = (
    "dataset",
    "language",
    "task",
    "style",
    "preference",
    "intention",
    "answer",
    "preference_source",
    "intention_source",
    "annotator",
    "held_out",
)


@dataclass(frozen=True)
class Tally:
    """Counts and text lengths of instructions by kind.

    Attributes:
        counts: Number of instructions for each combination of values of `KEY_FIELDS` that occurs.
        lengths: Total length of their texts, in words (English) or characters other than spaces (Chinese).
    """

    counts: Mapping[Key, int] = field(default_factory=dict)
    lengths: Mapping[Key, int] = field(default_factory=dict)

    @classmethod
    def of(cls, instructions: Iterable[Instruction]) -> Self:
        """Return the tally of some instructions."""
        counts: dict[Key, int] = {}
        lengths: dict[Key, int] = {}
        for instruction in instructions:
            key = (
                instruction.dataset,
                instruction.language,
                instruction.task._value_,
                instruction.style._value_,
                instruction.preference._value_,
                instruction.intention._value_,
                instruction.answer._value_,
                instruction.preference_source,
                instruction.intention_source,
                instruction.annotator,
                instruction.held_out,
            )
            counts[key] = counts.get(key, 0) + 1
            lengths[key] = lengths.get(key, 0) + text_length(instruction)
        return cls(counts, lengths)

    def plus(self, other: Tally) -> Tally:
        """Return the tally of the instructions of both."""
        return Tally(
            Counter(other.counts) + Counter(self.counts), Counter(other.lengths) + Counter(self.lengths)
        )

    def total(self) -> int:
        """Return the number of instructions."""
        return sum(self.counts.values())

    def by(self, *names: str) -> dict[Key, int]:
        """Return the counts by some of `KEY_FIELDS`, sorted: `by("task")` is `{("T0",): 250, ...}`.

        Raises:
            InputError: A name is not in `KEY_FIELDS`.
        """
        return _summed(self.counts, names)

    def table(self) -> pd.DataFrame:
        """Return a row for each task, preference, intention and language, with `count` and `mean_length`.

        The mean length is in words (English) or in characters other than spaces (Chinese).
        """
        import pandas as pd

        names = ("task", "preference", "intention", "language")
        lengths = _summed(self.lengths, names)
        rows = [(*key, count, lengths.get(key, 0) / count) for key, count in self.by(*names).items()]
        return pd.DataFrame(rows, columns=[*names, "count", "mean_length"])


def _summed(numbers: Mapping[Key, int], names: Sequence[str]) -> dict[Key, int]:
    for name in names:
        if name not in KEY_FIELDS:
            raise one_of("field of the tally", name, KEY_FIELDS, most=len(KEY_FIELDS))
    positions = [KEY_FIELDS.index(name) for name in names]
    sums: Counter[Key] = Counter()
    for key, number in numbers.items():
        sums[tuple(key[position] for position in positions)] += number
    return dict(sorted(sums.items(), key=lambda pair: [str(value or "") for value in pair[0]]))


_SIZE_CATEGORIES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)
_COUNT_TABLES = (
    ("Task and style", ("task", "style")),
    ("Preference and intention", ("preference", "intention")),
    ("Language and data set", ("language", "dataset")),
    ("Sources", ("preference_source", "intention_source")),
    ("Answer", ("answer",)),
    ("Annotator and wording", ("annotator", "held_out")),
)
_ID_TYPE = "whole number or text"
_FORM_FIELDS: dict[str, dict[str, tuple[str, str]]] = {
    "instruction": {
        "text": ("text", "What is asked."),
        "response": ("text", "The answer: a title, A or B, yes or no (是 or 否), or words."),
        "task": (
            "text",
            "T0 pointwise: does this item suit; T1 pairwise: which of two; T2 matching: out of the whole catalogue, or "
            "an answer in words; T3 reranking: the best of the candidates.",
        ),
        "preference": ("text", "Lasting taste: P0 nothing, P1 titles of the history, P2 in words."),
        "intention": (
            "text",
            "Wish of the moment: I0 nothing, I1 vague, I2 names of categories or a condition.",
        ),
        "language": ("text", "en or zh."),
        "user_id": (_ID_TYPE, "The user's id in the source data."),
        "target": (
            f"{_ID_TYPE}, or null",
            "Id of the item to be answered, which the user went on to choose; null where "
            "words are the answer.",
        ),
        "history": (
            f"list of {_ID_TYPE}",
            "Items that the text or the answer was made from, oldest first, all met before "
            "the moment of the request.",
        ),
        "candidates": (f"list of {_ID_TYPE}", "Items shown, in their order."),
        "template": ("text", "Id of the template."),
        "intention_source": (
            "text or null",
            "Where the intention comes from; see Sources. Null without intention.",
        ),
        "context": (
            "object",
            "`time`, `place`, `device`, `occasion`: circumstances named in the text, or null.",
        ),
        "held_out": ("true or false", "Whether the wording is kept for evaluation."),
        "dataset": ("text", "Name of the source data."),
        "style": ("text", "How it is put: plain, turned_round, related, chain_of_thought, parametric."),
        "answer": ("text", "What is answered: item, preference, intention, both, reasoned_item."),
        "preference_source": (
            "text or null",
            "Where the preference comes from; see Sources. Null without preference.",
        ),
        "preference_text": ("text", "The taste in words, as in the text or the answer; empty without."),
        "intention_text": ("text", "The intention in words, as in the text or the answer; empty without."),
        "annotator": ("text", "Who put taste and wish into words: rules, or the name of a teacher model."),
        "cut": (
            "whole number",
            "How many different items the user had met before the moment of the request.",
        ),
    },
    "chat": {
        "messages": (
            "list of two objects",
            "`{role: user, content: what is asked}` and `{role: assistant, content: the answer}`.",
        ),
    },
    "prompt": {
        "prompt": ("text", "What is asked."),
        "response": ("text", "The answer."),
    },
}


def data_card(
    *,
    file: str,
    form: str,
    tally: Tally,
    size: int,
    sha256: str,
    identity: Mapping[str, Any],
    datasets: Dataset | Sequence[Dataset],
    example: Mapping[str, Any],
    command: str | None = None,
) -> str:
    """Return the data card of a file of instructions; it contains no date, so the same arguments give the same text.

    Args:
        file: Name of the file, without its folder.
        form: "instruction", "chat" or "prompt".
        tally: Counts of the instructions.
        size: Size of the file in bytes.
        sha256: Digest of the file, hexadecimal.
        identity: Everything that the instructions depend on, see `InstructionDataset.identity`.
        datasets: The source data, for their cards.
        example: The file's first object.
        command: The command line that made it, if known.

    Returns:
        Markdown with a YAML header, a line end after the last line.
    """
    sources = (datasets,) if isinstance(datasets, Dataset) else tuple(datasets)
    cards_by_name = {source.name: source.card for source in sources}
    names = list(dict.fromkeys([*cards_by_name, *(str(name) for (name,) in tally.by("dataset") if name)]))
    cards = {name: cards_by_name.get(name) for name in names}
    titles = [card.title if (card := cards[name]) else name for name in names]
    title = "Recommendation instructions" + (f" from {' and '.join(titles)}" if titles else "")
    n = tally.total()
    lines = [
        *_header(title, file, tally, cards),
        "",
        f"# {title}",
        "",
        f"{n:,} instructions with their answers for tuning a language model to recommend, in the format of InstructRec "
        "(Zhang et al., 2023, arXiv:2305.07001): each pairs what a user may ask with the item, or the words, that "
        "fit what the user did next.",
        "",
        f"- File: `{file}`, form `{form}`, {size:,} bytes",
        f"- SHA-256: `{sha256}`",
        "",
        *_licence(cards),
        *_generation(identity, command),
        *_counts(tally),
        *_fields(form, example),
        *_sources(form),
        *_limits(form, cards),
        *_citation(cards),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _header(title: str, file: str, tally: Tally, cards: Mapping[str, DataCard | None]) -> list[str]:
    languages = [f"- {language}" for (language,) in tally.by("language")]
    n = tally.total()
    size = next((label for limit, label in _SIZE_CATEGORIES if n < limit), "n>1T")
    is_free = bool(cards) and all(card and "Apache-2.0" in card.licence for card in cards.values())
    licence = (
        ["license: apache-2.0"] if is_free else ["license: other", "license_name: terms-of-the-source-data"]
    )
    return [
        "---",
        f"pretty_name: {_quoted(title)}",
        *(["language:", *languages] if languages else []),
        *licence,
        "task_categories:",
        "- text-generation",
        "tags:",
        "- recommendation",
        "- instruction-tuning",
        "- instructrec",
        "size_categories:",
        f"- {size}",
        "configs:",
        "- config_name: default",
        f"  data_files: {_quoted(file)}",
        "---",
    ]


def _licence(cards: Mapping[str, DataCard | None]) -> list[str]:
    lines = ["## Licence", ""]
    for name, card in cards.items():
        terms = card.licence if card else "unknown: ask whoever made the data."
        if "no redistribution" in terms.casefold():
            lines += [
                f"**Not to be published.** The terms of {card.title if card else name} bind this file too, since it "
                "holds titles, users and choices of those data. Share the command that makes it instead: whoever "
                "runs it on their own copy gets the same bytes.",
                "",
            ]
    lines += ["The wordings and rules are Apache-2.0. The terms of the source data:", ""]
    for name, card in cards.items():
        lines.append(
            f"- {card.title if card else name}: {card.licence if card else 'unknown; ask whoever made them'}"
        )
    return [*lines, ""]


def _generation(identity: Mapping[str, Any], command: str | None) -> list[str]:
    lines = ["## How it was made", ""]
    if command:
        lines += ["```", command, "```", ""]
    has_teacher = identity.get("annotator", RULES) != RULES
    needed = (
        "arguments, data, templates and replies of the teacher"
        if has_teacher
        else "arguments, data and templates"
    )
    lines += [
        f"Made by instructrec {__version__}. The same version, {needed} give the same bytes "
        "(Parquet: with the same version of pyarrow):",
        "",
    ]
    rows = [(f"`{name}`", f"`{json.dumps(value, ensure_ascii=False)}`") for name, value in identity.items()]
    return [*lines, *_table(("argument", "value"), rows), ""]


def _counts(tally: Tally) -> list[str]:
    lines = ["## Counts", ""]
    n = max(tally.total(), 1)
    for heading, names in _COUNT_TABLES:
        rows = [
            (*map(_cell, key), f"{count:,}", f"{count / n:.1%}") for key, count in tally.by(*names).items()
        ]
        lines += [f"### {heading}", "", *_table((*names, "count", "share"), rows), ""]
    return lines


def _fields(form: str, example: Mapping[str, Any]) -> list[str]:
    rows = [(f"`{name}`", kind, words) for name, (kind, words) in _FORM_FIELDS[form].items()]
    return [
        "## Fields",
        "",
        *_table(("field", "type", "meaning"), rows),
        "",
        "The first one:",
        "",
        "````json",
        json.dumps(example, ensure_ascii=False, indent=2),
        "````",
        "",
    ]


def _sources(form: str) -> list[str]:
    return [
        "## Sources",
        "",
        "Preference and intention come in two kinds"
        + (", and every instruction says which:" if form == "instruction" else ", counted above:"),
        "",
        "- `oracle`: derived from the item that the user went on to choose, as in the paper. It says more than a real "
        "user's request could, so that a model evaluated on it looks better than it is.",
        "- `history`: only what was known before the moment of the request.",
        "",
        "The time of a request is read off the log; place, device and occasion, where named, are drawn at random, "
        "since no log here has them.",
        "",
    ]


def _limits(form: str, cards: Mapping[str, DataCard | None]) -> list[str]:
    lines = [
        "## Known limits",
        "",
        "- Wordings are templates: fewer ways of asking than people have.",
        "- What a user chose next is taken to be what suited the request; the user was never asked.",
        "- Items shown beside the target had not been met before the moment, but may be met, and liked, later.",
        "- Wordings with `held_out` true are for evaluation only.",
    ]
    if form == "instruction":
        lines.append("- `user_id` is an id of the source data: it identifies whoever is identified there.")
    for name, card in cards.items():
        lines += [f"- {card.title if card else name}: {text}" for text in (card.caveats if card else ())]
    return [*lines, ""]


def _citation(cards: Mapping[str, DataCard | None]) -> list[str]:
    lines = [
        "## Citation",
        "",
        "- Format: Junjie Zhang, Ruobing Xie, Yupeng Hou, Wayne Xin Zhao, Leyu Lin, Ji-Rong Wen. 2023. Recommendation "
        "as Instruction Following: A Large Language Model Empowered Recommendation Approach. arXiv:2305.07001",
    ]
    for card in cards.values():
        if card:
            cited = card.citation or f"no work to cite; source: {card.source}"
            lines.append(f"- {card.title}: {cited}")
    return lines


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *(line(row) for row in rows)]


def _cell(value: str | bool | None) -> str:
    return str(value).lower() if isinstance(value, bool) else value or "–"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON text is a YAML text
