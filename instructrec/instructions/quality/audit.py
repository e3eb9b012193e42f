"""A proof that instructions give nothing away: neither the answer, nor anything that happened after their moment.

`audit` reads a stream once and holds each instruction against the raw log alone, not against the code that made it;
`future_proof` recomputes what an instruction says from a log whose future is gone. Derived in chapter
`instruction-generation`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.quality.facts import Evidence, Library, Story, clean, stands_in, without
from instructrec.instructions.schema import Answer, Instruction, Intention, Preference, Style
from instructrec.instructions.templates import Template, load_templates
from instructrec.wordings.lexicon import LANGUAGES, plain

KINDS = {
    "moment": "the user or the cut is unknown, or the target is not the item at the cut",
    "history": "an item of the history was not met before the cut, or is the target",
    "candidates": "an item to choose from had been met before the cut",
    "title": "the title of the item that came next stands in the text, other than as a candidate",
    "title in words": "the title of the item that came next stands in the taste or in the intention",
    "answer": "the words that are answered stand in the text",
    "preference source": 'a taste said to be "history" names a category that no item before the cut has',
    "intention source": 'an intention said to be "history" names a category that no item before the cut has',
    "held out": "the wording is held out and the instruction says otherwise, or the other way round",
}
"""What can leak, in words, by its short name."""
EXAMPLES = 5
_WORDS = (Answer.PREFERENCE, Answer.INTENTION, Answer.BOTH)
_IN_WORDS = (*_WORDS, Answer.REASONED_ITEM)
T = TypeVar("T")


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        n: How many instructions were read.
        checked: For each kind of leak, how many of them could have it.
        leaks: For each kind of leak, how many have it.
        examples: For each kind of leak, the first few in words.
    """

    n: int
    checked: dict[str, int]
    leaks: dict[str, int]
    examples: dict[str, tuple[str, ...]] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether nothing leaks; True of no instruction at all."""
        return not any(self.leaks.values())

    def raise_if_leaking(self) -> None:
        """Do nothing if nothing leaks.

        Raises:
            InputError: Something leaks; the message names each kind with its count, and the first example.
        """
        if not self.passed:
            found = [kind for kind, count in self.leaks.items() if count]
            counts = ", ".join(f"{kind} ({self.leaks[kind]})" for kind in found)
            raise InputError(
                f"of {self.n} instructions some leak: {counts}; the first: {self.examples[found[0]][0]}; accepted are "
                "instructions that tell nothing from their moment on but what is asked"
            )

    def table(self) -> pd.DataFrame:
        """Return a row a kind of leak: `meaning`, `checked`, `leaks`, and the first `example`, empty without one."""
        return pd.DataFrame(
            {
                "meaning": KINDS,
                "checked": self.checked,
                "leaks": self.leaks,
                "example": {kind: (self.examples[kind] or ("",))[0] for kind in KINDS},
            }
        ).rename_axis("kind")


def audit(
    instructions: Iterable[Instruction],
    datasets: Dataset | Sequence[Dataset] | Evidence,
    templates: Iterable[Template] | None = None,
) -> Audit:
    """Look for every kind of leak in each instruction; reads a stream once and keeps only counts and a few examples.

    A title counts wherever it stands as words of its own, in any language of the data set, whatever the case, width,
    accents and the place of its article, even within the longer title of a film of the history: whoever reads the text
    reads the answer. Where candidates are shown by form (T0, T1, T3, and the chosen item of a task turned round) one
    place of each title is cut out first. Categories are read off the words by the lexicon's names; what a taste says is
    avoided is no leak.

    Args:
        instructions: Any number of instructions.
        datasets: The data that they were made from and no more; several where instructions name their data set. An
            `Evidence` that is at hand already saves reading the log again.
        templates: The templates that they were made from; the package's own by default.

    Raises:
        InputError: An instruction names a data set that is not given.
    """
    library = Library(datasets)
    listed = chain.from_iterable(map(load_templates, LANGUAGES)) if templates is None else templates
    held_out = {template.id: template.held_out for template in listed}
    checked, leaks = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    examples: dict[str, list[str]] = {kind: [] for kind in KINDS}
    n = 0
    for n, one in enumerate(instructions, 1):
        found: dict[str, str] = {}
        for kind in _look(one, library.of(one), held_out, found):
            checked[kind] += 1
        for kind, detail in found.items():
            leaks[kind] += 1
            if len(examples[kind]) < EXAMPLES:
                examples[kind].append(f"number {n} ({one.template}, user {one.user_id}): {detail}")
    return Audit(n, checked, leaks, {kind: tuple(texts) for kind, texts in examples.items()})


def _look(
    one: Instruction, evidence: Evidence, held_out: dict[str, bool], found: dict[str, str]
) -> list[str]:
    """Fill in what leaks, by kind with a detail; return the kinds that were looked for."""
    done = ["moment", "held out"]
    expected = held_out.get(one.template, "-held" in one.template)
    if one.held_out != expected:
        found["held out"] = f"held_out is {one.held_out}, its template's is {expected}"
    story = evidence.story(one.user_id)
    if story is None:
        found["moment"] = "the user has no events"
        return done
    cut = one.cut
    if not 0 <= cut < len(story.items) + (one.target is None):
        found["moment"] = f"cut {cut} of {len(story.items)} items"
        return done
    chosen = story.items[cut] if cut < len(story.items) else None
    if one.target is not None and one.target != chosen:
        found["moment"] = f"target {one.target}, but item number {cut} is {chosen}"
    places = story.places
    done.append("history")
    for item in one.history:
        if places.get(item, cut) >= cut:
            found["history"] = f"item {item} was not met before the cut"
            break
    if one.candidates:
        done.append("candidates")
        for item in one.candidates:
            if places.get(item, cut) < cut:
                found["candidates"] = f"item {item} had been met before the cut"
                break
    _titles(one, evidence, chosen, done, found)
    if one.answer in _IN_WORDS:
        done.append("answer")
        _answers(one, evidence, found)
    _sources(one, evidence, story, done, found)
    return done


def _titles(
    one: Instruction, evidence: Evidence, chosen: Hashable, done: list[str], found: dict[str, str]
) -> None:
    titles: dict[str, None] = {}
    for item in (one.target, chosen):  # the same one, unless the target is wrong
        if item is not None:
            titles.update(dict.fromkeys(evidence.forms(item)))
    if not titles:
        return
    done.append("title")
    text = plain(clean(one.text))
    bare = None
    own = plain(evidence.shown(chosen, one.language)) if chosen in one.candidates else None
    for title in titles:
        places = text.count(title)
        if not places or (places == 1 and title == own):  # the one place is the candidate's
            continue
        if bare is None:
            bare = _without_candidates(text, one, evidence)
        if stands_in(title, bare):
            found["title"] = f"{title!r} stands in the text"
            break
    if one.preference_text or one.intention_text:
        done.append("title in words")
        words = plain(clean(f"{one.preference_text} \n {one.intention_text}"))
        for title in titles:
            if title in words and stands_in(title, words):
                found["title in words"] = f"{title!r} stands in {words!r}"
                break


def _without_candidates(text: str, one: Instruction, evidence: Evidence) -> str:
    """Return the text without one place of each candidate's title, longer titles first: some hold shorter ones."""
    shown = {plain(evidence.shown(item, one.language)) for item in one.candidates}
    for title in sorted(shown, key=len, reverse=True):
        text = without(text, title) if title else text
    return text


def _answers(one: Instruction, evidence: Evidence, found: dict[str, str]) -> None:
    answered: list[str] = []
    if one.answer != Answer.INTENTION:
        answered.append(one.preference_text)
    if one.answer in (Answer.INTENTION, Answer.BOTH):
        answered.append(one.intention_text)
    text: str | None = None
    for words in answered:
        sought = plain(clean(words))
        if not sought:
            found["answer"] = "the words that are answered are missing"
            break
        if text is None:
            # circumstances are drawn, not answered: "at home" does not give the category Home away
            text = plain(clean(one.text))
            for phrase in one.context.as_dict().values():
                text = without(text, plain(clean(phrase))) if phrase else text
            text = _without_candidates(text, one, evidence)
        if stands_in(sought, text):
            found["answer"] = f"{words!r} stands in the text"
            break


def _sources(
    one: Instruction, evidence: Evidence, story: Story, done: list[str], found: dict[str, str]
) -> None:
    later = len(story.items)
    if one.preference == Preference.P2 and one.preference_source == "history":
        done.append("preference source")
        named = evidence.names.read(one.preference_text).wanted
        for name in sorted(named):
            if story.categories.get(name, later) >= one.cut:
                found["preference source"] = f"{name!r} in {one.preference_text!r}"
                break
    if one.intention != Intention.I0 and one.intention_source == "history":
        done.append("intention source")
        if one.style == Style.PARAMETRIC:
            named = evidence.stated(one.intention_text).wanted
        elif one.intention == Intention.I2:
            named = evidence.names.read(one.intention_text).wanted
        else:
            named = evidence.wishes.read(one.intention_text).wanted
        for name in sorted(named):
            if story.categories.get(name, later) >= one.cut:
                found["intention source"] = f"{name!r} in {one.intention_text!r}"
                break


def without_future(dataset: Dataset, one: Instruction, how: str = "delete", seed: int = 0) -> Dataset:
    """Return the data set as it could have been known at an instruction's moment, with the item chosen then.

    Kept are all events before the moment, the user's own ones that come before the chosen item in the log though in the
    same second, and the event of the choice. All others, of all users, are deleted or scrambled. The item table stays:
    what it says of an item, such as its sales, is taken to be public.

    Args:
        dataset: The data that the instruction was made from.
        one: The instruction.
        how: "delete", or "scramble" for other items, other users and other times from the moment on.
        seed: Seed of the scrambling.

    Raises:
        InputError: An unknown `how`, user or cut.
    """
    if how not in ("delete", "scramble"):
        raise InputError(f"how is {how!r}; 'delete' or 'scramble' is accepted")
    ordered = dataset.ordered.reset_index(drop=True)  # by time; equal times in the order of the file
    own = ordered[(ordered["user_id"] == one.user_id) & ordered["item_id"].isin(dataset.items["item_id"])]
    own = own.drop_duplicates("item_id")
    if not 0 <= one.cut < len(own):
        raise InputError(
            f"cut {one.cut} of user {one.user_id!r}, who has {len(own)} items; a number from 0 to one less is accepted"
        )
    moment, chosen = int(own["timestamp"].iloc[one.cut]), own.index[one.cut]
    mine = (ordered["user_id"] == one.user_id) & (ordered.index <= chosen)
    past = (ordered["timestamp"] < moment) | mine
    before, after = ordered[past], ordered[~past]
    if how == "delete":
        return dataset.with_interactions(before)
    rng = np.random.default_rng(seed)
    mixed = after.assign(
        item_id=rng.choice(dataset.items["item_id"].to_numpy(), len(after)),
        user_id=rng.permutation(after["user_id"].to_numpy()),
        timestamp=moment + rng.integers(0, 10**8, len(after)),
    )
    return dataset.with_interactions(pd.concat([before, mixed]))


def retell(one: Instruction, known: Dataset) -> tuple[str, str]:
    """Return what the rules say of an instruction's history from a data set: its titles and the taste that they show.

    Args:
        one: The instruction.
        known: The data that it was made from, or less of it, such as `without_future` leaves.

    Raises:
        InputError: The user has no such moment in the data.
    """
    from instructrec.instructions.verbalizer import (
        Verbalizer,
    )  # here: the audit itself uses none of the makers' code

    story = Evidence(known).story(one.user_id)
    if story is None or not 0 <= one.cut < len(story.times):
        raise InputError(
            f"user {one.user_id!r} has no item number {one.cut}; the data of the instruction are needed"
        )
    annotator = Verbalizer(known, one.language)
    return annotator.history(one.history), annotator.taste(one.history, story.times[one.cut])


def future_proof(describe: Callable[[Dataset], T], dataset: Dataset, one: Instruction, seed: int = 0) -> bool:
    """Tell whether what is said at an instruction's moment stays the same once everything later is gone or scrambled.

    Args:
        describe: Says something from a data set, such as `lambda known: retell(one, known)`.
        dataset: The data that the instruction was made from.
        one: The instruction.
        seed: Seed of the scrambling.
    """
    said = describe(dataset)
    return all(describe(without_future(dataset, one, how, seed)) == said for how in ("delete", "scramble"))
