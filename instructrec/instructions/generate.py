"""Making instructions from histories: pick a user and a moment, and ask for what came next.

The negatives are drawn from the items that the user had not met before the moment; an item met later may be among them,
since leaving it out would use the future. Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.annotate import Annotator
from instructrec.instructions.lexicon import LANGUAGES
from instructrec.instructions.schema import (
    INTENTION_SOURCES,
    Context,
    Instruction,
    Intention,
    Preference,
    TaskForm,
    member,
)
from instructrec.instructions.templates import Template, load_templates

N_CANDIDATES = 10
ATTEMPTS = 200
_ANSWERS = {"en": ("yes", "no"), "zh": ("是", "否")}
_N_NEGATIVES = {TaskForm.T0: 1, TaskForm.T1: 1, TaskForm.T2: 0, TaskForm.T3: N_CANDIDATES - 1}


def generate(
    dataset: Dataset,
    n: int,
    languages: Sequence[str] = ("en", "zh"),
    seed: int = 0,
    source: str = "oracle",
    *,
    tasks: Sequence[TaskForm | str] | None = None,
    held_out: bool | None = False,
    history_length: int = 10,
    context_share: float = 0.25,
) -> Iterator[Instruction]:
    """Make instructions one by one, the same ones for the same arguments; memory and time grow with n only linearly.

    Each picks a language, a template, a user and a cut in the user's time-ordered history; the target is the item at
    the cut, and nothing after it is used. For matching, the target's title never stands in the text.

    Args:
        dataset: Items with titles and categories, and interactions; give the training part only.
        n: How many, at least 0.
        languages: Of "en" and "zh", chosen from evenly.
        seed: Seed of every draw.
        source: Where intentions come from: "oracle", the target, as in the paper (more than a real user's words could
            tell), or "history", what was known before.
        tasks: Forms of task to use; all by default.
        held_out: False for the wordings for training, True for those kept for evaluation, None for both.
        history_length: The most items of the history that a text is made from.
        context_share: Share of the texts that state the day of the week and the part of the day of the request.

    Yields:
        Instructions.

    Raises:
        InputError: An argument is not acceptable, or the data set has too few interactions or items.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
        raise InputError(f"n is {n!r}; a whole number of at least 0 is accepted")
    if isinstance(languages, str) or not languages:
        raise InputError(
            f"languages is {languages!r}; a list with one or more of {', '.join(LANGUAGES)} is accepted"
        )
    for language in languages:
        if language not in LANGUAGES:
            raise one_of("language", language, LANGUAGES)
    if source not in INTENTION_SOURCES:
        raise one_of("source", source, INTENTION_SOURCES)
    if history_length < 1:
        raise InputError(f"history_length is {history_length!r}; a whole number of at least 1 is accepted")
    if not 0 <= context_share <= 1:
        raise InputError(f"context_share is {context_share!r}; a share in [0, 1] is accepted")
    wanted = {member(TaskForm, task) for task in tasks} if tasks is not None else set(TaskForm)
    templates = {
        language: [
            template
            for template in load_templates(language)
            if template.task in wanted and (held_out is None or template.held_out == held_out)
        ]
        for language in languages
    }
    for language, listed in templates.items():
        if not listed:
            raise InputError(
                f"no template of language {language} fits tasks={tasks!r}, held_out={held_out!r}"
            )
    maker = _Maker(dataset, tuple(dict.fromkeys(languages)), source, history_length, context_share)
    return maker.make(int(n), templates, np.random.default_rng(seed))


def statistics(instructions: Iterable[Instruction]) -> pd.DataFrame:
    """Count instructions by what they are made of; reads a stream once.

    Args:
        instructions: Any number of instructions.

    Returns:
        One row for each task, preference, intention and language that occurs, with `count`, `mean_length` (of the text:
        words in English, characters other than spaces in Chinese) and `distinct_share` (different texts / texts).
    """
    counts: dict[tuple[str, str, str, str], list[int]] = {}
    texts: dict[tuple[str, str, str, str], set[int]] = {}
    for one in instructions:
        key = (str(one.task), str(one.preference), str(one.intention), one.language)
        length = len("".join(one.text.split())) if one.language == "zh" else len(one.text.split())
        tally = counts.setdefault(key, [0, 0])
        tally[0] += 1
        tally[1] += length
        texts.setdefault(key, set()).add(hash(one.text))
    rows = [
        (*key, count, length / count, len(texts[key]) / count)
        for key, (count, length) in sorted(counts.items())
    ]
    columns = ["task", "preference", "intention", "language", "count", "mean_length", "distinct_share"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class _Story:
    """A user's distinct items in the order of first meeting."""

    items: list[Hashable]
    times: list[int]
    positions: dict[Hashable, int]


class _Maker:
    def __init__(
        self,
        dataset: Dataset,
        languages: Sequence[str],
        source: str,
        history_length: int,
        context_share: float,
    ) -> None:
        self.source = source
        self.history_length = history_length
        self.context_share = context_share
        self.annotators = {language: Annotator(dataset, language) for language in languages}
        self.catalogue: list[Hashable] = dataset.items["item_id"].tolist()
        known = set(self.catalogue)
        self.events: dict[Hashable, tuple[list[Hashable], list[int]]] = {}
        ordered = dataset.ordered
        for user, item, time in zip(
            ordered["user_id"].tolist(),
            ordered["item_id"].tolist(),
            ordered["timestamp"].tolist(),
            strict=True,
        ):
            if item in known:
                items, times = self.events.setdefault(user, ([], []))
                items.append(item)
                times.append(time)
        self.users = [user for user, (items, _) in self.events.items() if len(set(items)) >= 2]
        if not self.users:
            raise InputError(
                f"data set {dataset.name!r} has no user with two different items; instructions need one"
            )
        self.stories: dict[Hashable, _Story] = {}

    def make(
        self, n: int, templates: dict[str, list[Template]], rng: np.random.Generator
    ) -> Iterator[Instruction]:
        languages = list(templates)
        for _ in range(n):
            language = languages[int(rng.integers(len(languages)))]
            listed = templates[language]
            yield self._one(listed[int(rng.integers(len(listed)))], rng)

    def _one(self, template: Template, rng: np.random.Generator) -> Instruction:
        for _ in range(ATTEMPTS):
            made = self._attempt(template, rng)
            if made is not None:
                return made
        raise InputError(
            f"template {template.id!r} found no fitting event in {ATTEMPTS} attempts; it needs items with categories, "
            "other items that the user has not met, and titles that do not repeat each other"
        )

    def _attempt(self, template: Template, rng: np.random.Generator) -> Instruction | None:
        user = self.users[int(rng.integers(len(self.users)))]
        story = self._story(user)
        cut = int(rng.integers(1, len(story.items)))
        target = story.items[cut]
        history = story.items[max(0, cut - self.history_length) : cut]
        annotator = self.annotators[template.language]
        fields = dict(annotator.words)
        if template.preference == Preference.P1:
            fields["history"] = annotator.history(history)
        elif template.preference == Preference.P2:
            fields["preference"] = annotator.taste(history)
            if not fields["preference"]:
                return None
        if template.intention != Intention.I0:
            labels = (
                list(annotator.categories[target]) if self.source == "oracle" else annotator.labels(history)
            )
            if not labels:
                return None
            if template.intention == Intention.I2:
                fields["intention"] = annotator.join(labels)
            else:
                pick = int(rng.integers(len(labels))) if self.source == "oracle" else 0
                fields["intention"] = annotator.wish(labels[pick], rng)
        negatives = self._negatives(story, cut, _N_NEGATIVES[template.task], annotator, rng)
        if negatives is None:
            return None
        candidates, response = self._task(template, target, negatives, annotator, fields, rng)
        context = Context()
        if rng.random() < self.context_share:
            context = Context(time=annotator.moment(story.times[cut]))
        fields["context"] = _opening(context, template.language)
        text = template.render(fields, int(rng.integers(len(template.variants))))
        if template.task == TaskForm.T2 and any(
            contains_title(text, one.titles[target]) for one in self.annotators.values()
        ):
            return None
        uses_history = template.preference != Preference.P0 or (
            template.intention != Intention.I0 and self.source == "history"
        )
        return Instruction(
            text=text,
            response=response,
            task=template.task,
            preference=template.preference,
            intention=template.intention,
            language=template.language,
            user_id=user,
            target=target,
            history=tuple(history) if uses_history else (),
            candidates=candidates,
            template=template.id,
            intention_source=self.source if template.intention != Intention.I0 else None,
            context=context,
            held_out=template.held_out,
        )

    def _task(
        self,
        template: Template,
        target: Hashable,
        negatives: list[Hashable],
        annotator: Annotator,
        fields: dict[str, str],
        rng: np.random.Generator,
    ) -> tuple[tuple[Hashable, ...], str]:
        """Fill in the fields of the task form; return the candidates as shown and the response."""
        if template.task == TaskForm.T2:
            return (), annotator.title(target)
        if template.task == TaskForm.T0:
            suits = bool(rng.random() < 0.5)
            item = target if suits else negatives[0]
            fields["item"] = _quoted(annotator.title(item), annotator)
            return (item,), _ANSWERS[template.language][0 if suits else 1]
        shown = [target, *negatives]
        shown = [shown[place] for place in rng.permutation(len(shown))]
        if template.task == TaskForm.T1:
            fields["item_a"], fields["item_b"] = (_quoted(annotator.title(item), annotator) for item in shown)
            return tuple(shown), "AB"[shown.index(target)]
        fields["candidates"] = "\n".join(
            f"{number}. {annotator.title(item)}" for number, item in enumerate(shown, 1)
        )
        return tuple(shown), annotator.title(target)

    def _negatives(
        self, story: _Story, cut: int, n: int, annotator: Annotator, rng: np.random.Generator
    ) -> list[Hashable] | None:
        """Return n items not met up to the cut, no two of one title; fewer, at least one, in a small catalogue."""
        chosen: list[Hashable] = []
        titles = {annotator.title(story.items[cut])}
        for _ in range(20 * n):
            if len(chosen) == n:
                break
            item = self.catalogue[int(rng.integers(len(self.catalogue)))]
            if story.positions.get(item, cut + 1) > cut and annotator.title(item) not in titles:
                chosen.append(item)
                titles.add(annotator.title(item))
        if len(chosen) < n:
            for place in rng.permutation(len(self.catalogue)):
                item = self.catalogue[int(place)]
                if story.positions.get(item, cut + 1) > cut and annotator.title(item) not in titles:
                    chosen.append(item)
                    titles.add(annotator.title(item))
                if len(chosen) == n:
                    break
        return None if n and not chosen else chosen

    def _story(self, user: Hashable) -> _Story:
        if user not in self.stories:
            items, times = self.events[user]
            first: dict[Hashable, int] = {}
            for item, time in zip(items, times, strict=True):
                first.setdefault(item, time)
            positions = {item: place for place, item in enumerate(first)}
            self.stories[user] = _Story(list(first), list(first.values()), positions)
        return self.stories[user]


def contains_title(text: str, title: str) -> bool:
    """Tell whether a title stands in a text as words of its own, whatever the case."""
    pattern = re.escape(title.casefold())
    if title[:1].isascii():
        pattern = r"(?<![a-z0-9])" + pattern
    if title[-1:].isascii():
        pattern += r"(?![a-z0-9])"
    folded = text.casefold()
    return title.casefold() in folded and re.search(pattern, folded) is not None


def _opening(context: Context, language: str) -> str:
    words = context.words(language)
    return "" if not words else f"{words}，" if language == "zh" else f"{words}. "


def _quoted(title: str, annotator: Annotator) -> str:
    if annotator.language == "en":
        return f'"{title}"'
    return f"《{title}》" if annotator.words["thing"] == "电影" else f"“{title}”"
