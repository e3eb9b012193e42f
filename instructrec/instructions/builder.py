"""Making one instruction from one data set: pick a user and a moment, and ask for what came next.

The negatives are drawn from the items that the user had not met before the moment; an item met later may be among them,
since leaving it out would use the future. An attempt whose text would hold the target's title, or that lacks what its
template needs, is given up for another user and moment with the same template. So no item follows a history that
holds its title, and nothing else about the target decides what is kept where all sources are "history". Derived in
chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.schema import (
    NO_CONTEXT,
    RULES,
    Answer,
    Instruction,
    Intention,
    Preference,
    Style,
    TaskForm,
)
from instructrec.instructions.teacher import AnnotationRequest
from instructrec.instructions.templates import Template
from instructrec.instructions.verbalizer import Draw, Popularity, Verbalizer
from instructrec.wordings.lexicon import plain, stands_alone, title_forms

N_CANDIDATES = 10
TASTE_LENGTH = 30
"""The most items that a taste in words is made from where no titles are shown."""
WISHES = 3
"""How many wishes a teacher is asked for, for the same categories."""
ATTEMPTS = 200
_ANSWERS = {"en": ("yes", "no"), "zh": ("是", "否")}
_N_NEGATIVES = {TaskForm.T0: 1, TaskForm.T1: 1, TaskForm.T2: 0, TaskForm.T3: N_CANDIDATES - 1}


@dataclass(frozen=True)
class Settings:
    """What instructions are made from, see `plan`."""

    source: str
    preference_source: str
    history_length: int
    context_share: float
    tasks: tuple[str, ...]
    styles: tuple[str, ...]
    held_out: bool | None


@dataclass(frozen=True, slots=True)
class _Story:
    """One user's events: the different items in the order first met, the time of each, and its place."""

    user: Hashable
    items: list[Hashable]
    times: list[int]
    places: dict[Hashable, int]


class Notes:
    """What a teacher has written so far, and what it is still to be asked; empty where the rules do it all.

    Args:
        replies: The teacher's text for each request, None where it had no acceptable one.
        model: The teacher's name.
    """

    def __init__(
        self, replies: Mapping[AnnotationRequest, str | None] | None = None, model: str = ""
    ) -> None:
        self.replies = replies
        self.model = model
        self.missing: dict[AnnotationRequest, None] = {}

    def text(self, request: Callable[[], AnnotationRequest]) -> str | None:
        """Return the teacher's text, None where the rules are to be used."""
        if self.replies is None:
            return None
        asked = request()
        if asked not in self.replies:
            self.missing[asked] = None
            return None
        return self.replies[asked]


class InstructionBuilder:
    """Makes instructions from one data set.

    Args:
        dataset: Items with titles and categories, and interactions.
        languages: The languages that templates will have.
        settings: What instructions are made from.

    Raises:
        InputError: No user has two different items.
    """

    def __init__(self, dataset: Dataset, languages: Sequence[str], settings: Settings) -> None:
        self.dataset = dataset
        self.settings = settings
        self.catalogue: list[Hashable] = dataset.items["item_id"].tolist()
        popularity = Popularity(dataset)
        self.verbalizers = {
            language: Verbalizer(dataset, language, popularity)
            for language in dict.fromkeys((*languages, "en", "zh"))
        }
        # what must not stand in a text that asks for the item: its title in any language
        self.forms: dict[Hashable, tuple[str, ...]] = {
            item: tuple(
                dict.fromkeys(
                    form for one in self.verbalizers.values() for form in title_forms(one.titles[item])
                )
            )
            for item in self.catalogue
        }
        self.stories = self._stories()
        if not self.stories:
            raise InputError(
                f"data set {dataset.name!r} has no user with two different items; instructions need one"
            )
        self._unfit: dict[tuple[str, int], frozenset[Hashable]] = {}

    def fitting(self, templates: Sequence[Template]) -> list[Template]:
        """Return the templates that the data can fill: without any category there is no intention and no taste.

        Raises:
            InputError: None is left.
        """
        described = bool(next(iter(self.verbalizers.values())).all_categories)
        left = [
            template
            for template in templates
            if described or (template.preference != Preference.P2 and template.intention == Intention.I0)
        ]
        if not left:
            raise InputError(
                f"data set {self.dataset.name!r} has no categories, which every chosen template needs; "
                "give items with categories, or choose templates that state titles alone"
            )
        return left

    def make(self, template: Template, draw: Draw, notes: Notes) -> Instruction:
        """Make an instruction from a template.

        Raises:
            InputError: No event fits.
        """
        for _ in range(ATTEMPTS):
            made = self._attempt(template, draw, notes)
            if made is not None:
                return made
        raise InputError(
            f"template {template.id!r} found no fitting event in {ATTEMPTS} attempts; it needs items with categories, "
            "other items that the user has not met, and titles that do not repeat each other"
        )

    def _stories(self) -> list[_Story]:
        known = set(self.catalogue)
        first: dict[Hashable, dict[Hashable, int]] = {}
        ordered = self.dataset.ordered
        for user, item, time in zip(
            ordered["user_id"].tolist(),
            ordered["item_id"].tolist(),
            ordered["timestamp"].tolist(),
            strict=True,
        ):
            if item in known:
                first.setdefault(user, {}).setdefault(item, time)
        return [
            _Story(
                user,
                list(times),
                list(times.values()),
                {item: place for place, item in enumerate(times)},
            )
            for user, times in first.items()
            if len(times) >= 2
        ]

    def _attempt(self, template: Template, draw: Draw, notes: Notes) -> Instruction | None:
        annotator = self.verbalizers[template.language]
        story = self.stories[int(draw() * len(self.stories))]
        cut = 1 + int(draw() * (len(story.items) - 1))
        target = story.items[cut]
        history = self._history(template, story, cut, annotator)
        written: list[str] = []
        fields = dict(annotator.words)
        taste = wish = ""
        known: list[Hashable] = []
        if _may_show_titles(template):
            fields["history"] = annotator.history(history)
        if template.preference == Preference.P2:
            taste = self._taste(annotator, history, story, cut, notes, written)
            if not taste:
                return None
            fields["preference"] = taste
        if template.intention != Intention.I0:
            known = self._wished_from(template, history, story, cut)
            wish = self._intention(template, annotator, known, target, draw, notes, written)
            if not wish:
                return None
            fields["intention"] = wish
        shown, response = self._task(template, annotator, story, cut, fields, draw)
        if not response:
            return None
        context = NO_CONTEXT
        if "context" in template.fields or draw() < self.settings.context_share:
            context = annotator.context(story.times[cut], draw)
        fields["context"] = annotator.opening(context)
        variant = int(draw() * len(template.variants))
        text = template.render(fields, variant)
        if self._leaks(template, variant, target, text, fields, taste, wish):
            return None
        words = template.answer not in (Answer.ITEM, Answer.REASONED_ITEM)
        oracle_wish = self.settings.source == "oracle"
        uses_history = template.preference != Preference.P0 or (bool(wish) and not oracle_wish)
        if wish and not oracle_wish and known != history:
            history = [item for item in story.items[:cut] if item in {*history, *known}]
        return Instruction(
            text,
            response,
            template.task,
            template.preference,
            template.intention,
            template.language,
            story.user,
            None if words else target,
            tuple(history) if uses_history else (),
            shown,
            template.id,
            self.settings.source if wish else None,
            context,
            template.held_out,
            self.dataset.name,
            template.style,
            template.answer,
            self.settings.preference_source if template.preference != Preference.P0 else None,
            taste,
            wish,
            "+".join(dict.fromkeys(written)) or RULES,
            cut,
        )

    def _history(self, template: Template, story: _Story, cut: int, annotator: Verbalizer) -> list[Hashable]:
        """Return the items that the text is made from: those whose titles are shown, or those that a taste sums up."""
        titles = template.preference != Preference.P2 or _may_show_titles(template)
        length = self.settings.history_length if titles else TASTE_LENGTH
        if self.settings.preference_source == "oracle" and template.preference == Preference.P1:
            wanted = set(annotator.categories[story.items[cut]])
            akin = [item for item in story.items[:cut] if not wanted.isdisjoint(annotator.categories[item])]
            if akin:
                return akin[-length:]
        return story.items[max(0, cut - length) : cut]

    def _wished_from(
        self, template: Template, history: list[Hashable], story: _Story, cut: int
    ) -> list[Hashable]:
        """Return the items that a wish of the history is read off: never those picked for what the target is."""
        if template.preference == Preference.P1 and self.settings.preference_source == "oracle":
            return story.items[max(0, cut - self.settings.history_length) : cut]
        return history

    def _taste(
        self,
        annotator: Verbalizer,
        history: list[Hashable],
        story: _Story,
        cut: int,
        notes: Notes,
        written: list[str],
    ) -> str:
        target = story.items[cut]
        seen = [*history, target] if self.settings.preference_source == "oracle" else history
        found = notes.text(
            lambda: AnnotationRequest(
                kind="taste",
                language=annotator.language,
                titles=tuple([annotator.titles[item] for item in seen]),
                categories=(),
                forbidden=self._titles(target),
            )
        )
        written.append(RULES if found is None else notes.model)
        return annotator.taste(seen, story.times[cut]) if found is None else found

    def _intention(
        self,
        template: Template,
        annotator: Verbalizer,
        history: list[Hashable],
        target: Hashable,
        draw: Draw,
        notes: Notes,
        written: list[str],
    ) -> str:
        oracle = self.settings.source == "oracle"
        if template.style == Style.PARAMETRIC:
            labels, year, price = annotator.typical([target] if oracle else history)
            if oracle:
                labels = list(annotator.categories[target])
            return annotator.condition(labels, year, price, draw) if labels else ""
        labels = list(annotator.categories[target]) if oracle else annotator.labels(history)
        if not labels:
            return ""
        if template.intention == Intention.I2:
            return annotator.join(labels)
        by_rule = annotator.wish(labels[int(draw() * len(labels))], draw)
        found = notes.text(
            lambda: AnnotationRequest(
                kind="wish",
                language=annotator.language,
                titles=(),
                categories=tuple([annotator.category_names[label] for label in labels]),
                forbidden=self._titles(target),
                # the rule's draw chooses among the teacher's wishes too, so that both draw alike
                variant=len(by_rule) % WISHES,
            )
        )
        written.append(RULES if found is None else notes.model)
        return by_rule if found is None else found

    def _titles(self, item: Hashable) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.titles[item] for one in self.verbalizers.values()))

    def _task(
        self,
        template: Template,
        annotator: Verbalizer,
        story: _Story,
        cut: int,
        fields: dict[str, str],
        draw: Draw,
    ) -> tuple[tuple[Hashable, ...], str]:
        """Fill in the fields of the task form; return what is shown and the response, empty where there is none."""
        target = story.items[cut]
        fields["title"] = annotator.titles[target]
        if template.task == TaskForm.T2:
            shown: tuple[Hashable, ...] = ()
            if "item" in template.fields:
                fields["item"] = annotator.quoted[target]
                shown = (target,)
            return shown, template.respond(fields)
        negatives = self._negatives(story, cut, _N_NEGATIVES[template.task], annotator, draw)
        if not negatives:
            return (), ""
        if template.task == TaskForm.T0:
            suits = draw() < 0.5
            item = target if suits else negatives[0]
            fields["item"] = annotator.quoted[item]
            return (item,), _ANSWERS[template.language][0 if suits else 1]
        place = int(draw() * (len(negatives) + 1))
        listed = [*negatives[:place], target, *negatives[place:]]
        if template.task == TaskForm.T1:
            fields["item_a"], fields["item_b"] = [annotator.quoted[item] for item in listed]
            return tuple(listed), "AB"[place]
        titles = annotator.titles
        fields["candidates"] = "\n".join(
            [f"{number}. {titles[item]}" for number, item in enumerate(listed, 1)]
        )
        return tuple(listed), template.respond(fields)

    def _negatives(
        self, story: _Story, cut: int, n: int, annotator: Verbalizer, draw: Draw
    ) -> list[Hashable]:
        """Return n items not met up to the cut, no two of one title; fewer in a small catalogue."""
        catalogue, places, titles = self.catalogue, story.places, annotator.titles
        taken = {titles[story.items[cut]]}
        chosen: list[Hashable] = []
        for _ in range(20 * n):
            item = catalogue[int(draw() * len(catalogue))]
            if places.get(item, cut + 1) > cut and titles[item] not in taken:
                chosen.append(item)
                taken.add(titles[item])
                if len(chosen) == n:
                    return chosen
        start = int(draw() * len(catalogue))
        for item in (*catalogue[start:], *catalogue[:start]):
            if places.get(item, cut + 1) > cut and titles[item] not in taken:
                chosen.append(item)
                taken.add(titles[item])
                if len(chosen) == n:
                    break
        return chosen

    def _leaks(
        self,
        template: Template,
        variant: int,
        target: Hashable,
        text: str,
        fields: Mapping[str, str],
        taste: str,
        wish: str,
    ) -> bool:
        """Tell whether the answer stands in the text, other than as a candidate."""
        if template.answer not in (Answer.ITEM, Answer.REASONED_ITEM):
            if taste and template.answer in (Answer.PREFERENCE, Answer.BOTH) and taste in text:
                return True
            if wish and template.answer in (Answer.INTENTION, Answer.BOTH):
                # a vague wish may be a title: "courage under fire" is a film as well
                vague = template.intention == Intention.I1
                if wish in text or (vague and plain(wish) in plain(text)):
                    return True
        if template.task == TaskForm.T2 and "item" not in template.fields:
            said = text
        else:  # titles are shown: look at the rest, the template's own words and what is filled in
            if target in self._wordings_with(template, variant):
                return True
            said = f"{fields.get('history', '')}\n{taste}\n{wish}\n{fields['context']}"
        return self._stands(target, plain(said))

    def _wordings_with(self, template: Template, variant: int) -> frozenset[Hashable]:
        """Return the items whose title stands in a template's own words, such as a film called Up."""
        key = (template.id, variant)
        if key not in self._unfit:
            bare = re.sub(r"{{.*?}}|{%.*?%}", "\n", template.variants[variant])
            bare = "\n".join((bare, *self.verbalizers[template.language].words.values()))
            sought = plain(bare)
            self._unfit[key] = frozenset(item for item in self.catalogue if self._stands(item, sought))
        return self._unfit[key]

    def _stands(self, item: Hashable, text: str) -> bool:
        return any(stands_alone(form, text) for form in self.forms[item])


def _may_show_titles(template: Template) -> bool:
    return "history" in template.fields or template.answer == Answer.PREFERENCE


def contains_title(text: str, title: str) -> bool:
    """Tell whether a title stands in a text as words of its own, whatever the case, width, accents and its article."""
    sought = plain(text)
    return any(stands_alone(form, sought) for form in title_forms(title))
