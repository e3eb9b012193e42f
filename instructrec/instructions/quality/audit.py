"""An audit that instructions reveal neither their answer nor anything that happened after their moment.

`audit` reads a stream once and compares each instruction with the raw log, not with the code that made it;
`future_proof` recomputes what an instruction says from a log whose future was removed. Derived in chapter
`instruction-generation`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.quality.facts import DatasetFacts, FactsByDataset, UserTimeline
from instructrec.instructions.quality.text_search import occurs_in, single_spaced, without_first
from instructrec.instructions.schema import Answer, Instruction, Intention, Preference, Style
from instructrec.instructions.templates import Template, load_templates
from instructrec.wordings.lexicon import LANGUAGES, plain

LEAKS = {
    "moment": "the user or the cut is unknown, or the target is not the item at the cut",
    "history": "an item of the history has no interaction before the cut, or is the target",
    "candidates": "a candidate has an interaction before the cut",
    "title": "the title of the next item occurs in the text, other than as a candidate",
    "title in words": "the title of the next item occurs in the preference or in the intention",
    "answer": "the words to be answered occur in the text",
    "preference source": 'a preference with the source "history" names a category that no item before the cut has',
    "intention source": 'an intention with the source "history" names a category that no item before the cut has',
    "held out": "the wording is held out and the instruction says otherwise, or the reverse",
}
"""The kinds of leak, each with its meaning."""
MAX_EXAMPLES = 5
"""Maximum number of examples of each kind of leak in an audit."""
_ANSWERS_WITH_WORDS = (Answer.PREFERENCE, Answer.INTENTION, Answer.BOTH, Answer.REASONED_ITEM)
T = TypeVar("T")


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        n: Number of instructions that were read.
        checked: For each kind of leak, the number of instructions that could have it.
        leaks: For each kind of leak, the number of instructions that have it.
        examples: For each kind of leak, descriptions of the first few.
    """

    n: int
    checked: dict[str, int]
    leaks: dict[str, int]
    examples: dict[str, tuple[str, ...]] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether nothing leaks; True without instructions."""
        return not any(self.leaks.values())

    def table(self) -> pd.DataFrame:
        """Return a row per kind of leak: `meaning`, `checked`, `leaks`, and the first `example`, "" without one."""
        return pd.DataFrame(
            {
                "meaning": LEAKS,
                "checked": self.checked,
                "leaks": self.leaks,
                "example": {kind: (self.examples[kind] or ("",))[0] for kind in LEAKS},
            }
        ).rename_axis("kind")


def audit(
    instructions: Iterable[Instruction],
    datasets: Dataset | Sequence[Dataset] | DatasetFacts,
    templates: Iterable[Template] | None = None,
) -> Audit:
    """Search each instruction for every kind of leak; reads a stream once and keeps only counts and a few examples.

    A title counts wherever it occurs as whole words, in any language of the data set, whatever its case, width, accents
    and the position of its article, even within the longer title of a film of the history: whoever reads the text reads
    the answer. Where candidates are displayed by design (T0, T1, T3, and the chosen item of a reversed task), one
    occurrence of each title is removed first. Categories are recognised by the lexicon's names; a category that a
    preference avoids is no leak.

    Args:
        instructions: Any number of instructions.
        datasets: The data that they were made from and no more; several where instructions name their data set.
            `DatasetFacts` that exist already save reading the log again.
        templates: The templates that they were made from; the package's own by default.

    Raises:
        InputError: An instruction names a data set that is not given.
    """
    facts_by_dataset = FactsByDataset(datasets)
    templates = chain.from_iterable(map(load_templates, LANGUAGES)) if templates is None else templates
    held_out = {template.id: template.held_out for template in templates}
    checked, leaks = dict.fromkeys(LEAKS, 0), dict.fromkeys(LEAKS, 0)
    examples: dict[str, list[str]] = {kind: [] for kind in LEAKS}
    n = 0
    for n, instruction in enumerate(instructions, 1):
        for kind, leak in _check(instruction, facts_by_dataset.of(instruction), held_out):
            checked[kind] += 1
            if leak is None:
                continue
            leaks[kind] += 1
            if len(examples[kind]) < MAX_EXAMPLES:
                source = f"number {n} ({instruction.template}, user {instruction.user_id})"
                examples[kind].append(f"{source}: {leak}")
    return Audit(n, checked, leaks, {kind: tuple(texts) for kind, texts in examples.items()})


def _check(
    instruction: Instruction, facts: DatasetFacts, held_out: dict[str, bool]
) -> Iterator[tuple[str, str | None]]:
    """Yield each kind of leak that the instruction could have, with a description of the leak, None without one."""
    expected = held_out.get(instruction.template, "-held" in instruction.template)
    yield (
        "held out",
        None
        if instruction.held_out == expected
        else f"held_out is {instruction.held_out}, its template's is {expected}",
    )
    timeline = facts.timeline(instruction.user_id)
    if timeline is None:
        yield "moment", "the user has no events"
        return
    cut, target, n_items = instruction.cut, instruction.target, len(timeline.items)
    if not 0 <= cut < n_items + (target is None):
        yield "moment", f"cut {cut} of {n_items} items"
        return
    next_item = timeline.items[cut] if cut < n_items else None
    is_true_target = target is None or target == next_item
    yield "moment", None if is_true_target else f"target {target}, but item number {cut} is {next_item}"
    yield from _check_items(instruction, timeline)
    yield from _check_titles(instruction, facts, next_item)
    if instruction.answer in _ANSWERS_WITH_WORDS:
        yield "answer", _answer_leak(instruction, facts)
    yield from _check_sources(instruction, facts, timeline)


def _check_items(instruction: Instruction, timeline: UserTimeline) -> Iterator[tuple[str, str | None]]:
    cut, positions = instruction.cut, timeline.positions
    late = (item for item in instruction.history if positions.get(item, cut) >= cut)
    yield "history", next((f"item {item} was not met before the cut" for item in late), None)
    if instruction.candidates:
        early = (item for item in instruction.candidates if positions.get(item, cut) < cut)
        yield "candidates", next((f"item {item} had been met before the cut" for item in early), None)


def _check_titles(
    instruction: Instruction, facts: DatasetFacts, next_item: Hashable
) -> Iterator[tuple[str, str | None]]:
    items = [
        item for item in (instruction.target, next_item) if item is not None
    ]  # equal, if the target is true
    titles = list(dict.fromkeys(title for item in items for title in facts.title_forms(item)))
    if not titles:
        return
    yield "title", _title_in_text(instruction, facts, next_item, titles)
    if instruction.preference_text or instruction.intention_text:
        words = plain(single_spaced(f"{instruction.preference_text} \n {instruction.intention_text}"))
        leaked = (title for title in titles if occurs_in(title, words))
        yield "title in words", next((f"{title!r} stands in {words!r}" for title in leaked), None)


def _title_in_text(
    instruction: Instruction, facts: DatasetFacts, next_item: Hashable, titles: Sequence[str]
) -> str | None:
    text = plain(single_spaced(instruction.text))
    displayed = (
        plain(facts.displayed_title(next_item, instruction.language))
        if next_item in instruction.candidates
        else None
    )
    without_candidates: str | None = None
    for title in titles:
        count = text.count(title)
        if not count or (count == 1 and title == displayed):  # the only occurrence is the candidate
            continue
        if without_candidates is None:
            without_candidates = _without_candidates(text, instruction, facts)
        if occurs_in(title, without_candidates):
            return f"{title!r} stands in the text"
    return None


def _without_candidates(text: str, instruction: Instruction, facts: DatasetFacts) -> str:
    """Return the text without one occurrence of each candidate's title, the longest first: it may contain others."""
    titles = {plain(facts.displayed_title(item, instruction.language)) for item in instruction.candidates}
    for title in sorted(titles, key=len, reverse=True):
        text = without_first(text, title) if title else text
    return text


def _answer_leak(instruction: Instruction, facts: DatasetFacts) -> str | None:
    answers: list[str] = []
    if instruction.answer != Answer.INTENTION:
        answers.append(instruction.preference_text)
    if instruction.answer in (Answer.INTENTION, Answer.BOTH):
        answers.append(instruction.intention_text)
    # The context is drawn at random, not answered: "at home" does not reveal the category Home.
    text = plain(single_spaced(instruction.text))
    for phrase in instruction.context.as_dict().values():
        text = without_first(text, plain(single_spaced(phrase))) if phrase else text
    text = _without_candidates(text, instruction, facts)
    for words in answers:
        phrase = plain(single_spaced(words))
        if not phrase:
            return "the words that are answered are missing"
        if occurs_in(phrase, text):
            return f"{words!r} stands in the text"
    return None


def _check_sources(
    instruction: Instruction, facts: DatasetFacts, timeline: UserTimeline
) -> Iterator[tuple[str, str | None]]:
    preference, intention = instruction.preference_text, instruction.intention_text
    if instruction.preference == Preference.P2 and instruction.preference_source == "history":
        names = facts.name_reader.read(preference).desired
        yield "preference source", _unknown_category(names, preference, instruction.cut, timeline)
    if instruction.intention != Intention.I0 and instruction.intention_source == "history":
        if instruction.style == Style.PARAMETRIC:
            names = facts.condition_mentions(intention).desired
        elif instruction.intention == Intention.I2:
            names = facts.name_reader.read(intention).desired
        else:
            names = facts.wish_reader.read(intention).desired
        yield "intention source", _unknown_category(names, intention, instruction.cut, timeline)


def _unknown_category(names: Iterable[str], words: str, cut: int, timeline: UserTimeline) -> str | None:
    """Return a description of the first category that no item before the cut has, None without one."""
    unknown = (name for name in sorted(names) if timeline.categories.get(name, cut) >= cut)
    return next((f"{name!r} in {words!r}" for name in unknown), None)


def without_future(dataset: Dataset, instruction: Instruction, how: str = "delete", seed: int = 0) -> Dataset:
    """Return the data set as it was known at an instruction's moment, with the event in which the item was chosen.

    The following events stay: all events before the moment, the user's own events in the same second that come before
    the choice in the log, and the choice. All other events, of all users, are deleted or scrambled. The item table
    stays: what it says of an item, such as its sales, counts as public.

    Args:
        dataset: The data that the instruction was made from.
        instruction: The instruction.
        how: "delete", or "scramble" for other items, other users and other times from the moment on.
        seed: Seed of the scrambling.

    Raises:
        InputError: An unknown `how`, user or cut.
    """
    if how not in ("delete", "scramble"):
        raise InputError(f"how is {how!r}; 'delete' or 'scramble' is accepted")
    user, cut = instruction.user_id, instruction.cut
    log = dataset.ordered.reset_index(drop=True)  # by time; equal times in the order of the file
    own_events = log[(log["user_id"] == user) & log["item_id"].isin(dataset.items["item_id"])]
    own_events = own_events.drop_duplicates("item_id")
    if not 0 <= cut < len(own_events):
        raise InputError(
            f"cut {cut} of user {user!r}, who has {len(own_events)} items; a number from 0 to one less is accepted"
        )
    moment, choice = int(own_events["timestamp"].iloc[cut]), own_events.index[cut]
    is_past = (log["timestamp"] < moment) | ((log["user_id"] == user) & (log.index <= choice))
    past, future = log[is_past], log[~is_past]
    if how == "delete":
        return dataset.with_interactions(past)
    rng = np.random.default_rng(seed)
    scrambled = future.assign(
        item_id=rng.choice(dataset.items["item_id"].to_numpy(), len(future)),
        user_id=rng.permutation(future["user_id"].to_numpy()),
        timestamp=moment + rng.integers(0, 10**8, len(future)),
    )
    return dataset.with_interactions(pd.concat([past, scrambled]))


def future_proof(
    describe: Callable[[Dataset], T], dataset: Dataset, instruction: Instruction, seed: int = 0
) -> bool:
    """Return whether a description at an instruction's moment stays the same when all later events are removed.

    Args:
        describe: Computes the description from a data set.
        dataset: The data that the instruction was made from.
        instruction: The instruction.
        seed: Seed of the scrambling; the later events are once deleted and once scrambled.
    """
    expected = describe(dataset)
    return all(
        describe(without_future(dataset, instruction, how, seed)) == expected
        for how in ("delete", "scramble")
    )
