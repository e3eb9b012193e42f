"""Build one instruction from a data set: draw a user and a moment, and ask for the item that the user chose next.

Negatives are drawn from the items without an interaction of the user before the moment. The user may choose some of
them later; they are not excluded, since that would use the future. An attempt is discarded if its text contains the
target's title or if it lacks a field of its template; then another user and moment are drawn for the same template.
So no target follows a history that contains its title. If all sources are "history", nothing else about the target
decides which attempts are discarded. Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError
from instructrec.instructions.schema import (
    NO_CONTEXT,
    RULES,
    Answer,
    Context,
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
"""Number of candidates to rank (T3), the target included."""
TASTE_LENGTH = 30
"""Maximum number of items that a taste in words summarises if no titles are shown."""
N_WISHES = 3
"""Number of vague wishes that a teacher writes for the same categories."""
MAX_ATTEMPTS = 200
"""Maximum number of users and moments drawn for one instruction; then `InputError` is raised."""
_N_NEGATIVES = {TaskForm.T0: 1, TaskForm.T1: 1, TaskForm.T2: 0, TaskForm.T3: N_CANDIDATES - 1}


@dataclass(frozen=True)
class Settings:
    """Arguments of `build_instructions` that decide how each instruction is built; described there."""

    source: str
    preference_source: str
    history_length: int
    context_share: float
    tasks: tuple[str, ...]
    styles: tuple[str, ...]
    held_out: bool | None


class Annotations:
    """Texts written by a teacher model, and the requests that it has not answered yet.

    Args:
        replies: The teacher's text for each request, None for a request without an acceptable text. Without `replies`,
            the rules write all texts.
        model: Name of the teacher model.
    """

    def __init__(
        self, replies: Mapping[AnnotationRequest, str | None] | None = None, model: str = ""
    ) -> None:
        self.replies = replies
        self.model = model
        self.missing: dict[AnnotationRequest, None] = {}

    def text(self, make_request: Callable[[], AnnotationRequest]) -> str | None:
        """Return the teacher's text for a request, None if the rules shall write it; note a request without a reply."""
        if self.replies is None:
            return None
        request = make_request()
        if request not in self.replies:
            self.missing[request] = None
            return None
        return self.replies[request]


@dataclass(frozen=True, slots=True)
class _UserLog:
    """A user's distinct items by time of their first event, these times, and the position of each item."""

    user: Hashable
    items: list[Hashable]
    times: list[int]
    positions: dict[Hashable, int]


@dataclass(frozen=True, slots=True)
class _Moment:
    """The moment in a user's log at which the item at position `cut` is about to be chosen."""

    log: _UserLog
    cut: int

    @property
    def target(self) -> Hashable:
        return self.log.items[self.cut]

    @property
    def time(self) -> int:
        return self.log.times[self.cut]

    def items_before(self, n: int | None = None) -> list[Hashable]:
        """Return the last `n` items before the moment, oldest first; all by default."""
        start = 0 if n is None else max(0, self.cut - n)
        return self.log.items[start : self.cut]

    def is_known(self, item: Hashable) -> bool:
        """Return whether the user has interacted with an item up to the moment, the target included."""
        return self.log.positions.get(item, self.cut + 1) <= self.cut


@dataclass(slots=True)
class _Draft:
    """An instruction that is not complete yet.

    Attributes:
        template: Template of the instruction.
        verbalizer: Verbalizer of the template's language.
        moment: The user and the moment.
        history: Items that the text is built from, oldest first.
        fields: Texts that fill the template, by field.
        wish_items: Items that the wish is derived from, if the source of intentions is the history.
        taste: The taste in words, if the template states or asks for it.
        wish: The intention in words, if the template states or asks for it.
        authors: Who wrote taste and wish: `RULES` or the name of the teacher model.
    """

    template: Template
    verbalizer: Verbalizer
    moment: _Moment
    history: list[Hashable]
    fields: dict[str, str]
    wish_items: list[Hashable] = field(default_factory=list)
    taste: str = ""
    wish: str = ""
    authors: list[str] = field(default_factory=list)


class InstructionBuilder:
    """Builder of instructions from a data set.

    Args:
        dataset: Items with titles and categories, and interactions.
        languages: The languages of the templates.
        settings: How instructions are built.

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
        # the forms of an item's title, in any language, that must not occur in a text that asks for the item
        self._title_forms: dict[Hashable, tuple[str, ...]] = {
            item: tuple(dict.fromkeys(form for title in self._titles_of(item) for form in title_forms(title)))
            for item in self.catalogue
        }
        self._logs = self._user_logs()
        if not self._logs:
            raise InputError(
                f"data set {dataset.name!r} has no user with two different items; instructions need one"
            )
        self._items_in_wording: dict[tuple[str, int], frozenset[Hashable]] = {}

    def fitting(self, templates: Sequence[Template]) -> list[Template]:
        """Return the templates that the data set can fill; intentions and tastes in words need categories.

        Raises:
            InputError: The data set can fill none of the templates.
        """
        has_categories = bool(next(iter(self.verbalizers.values())).all_categories)
        fitting = [
            template
            for template in templates
            if has_categories or (template.preference != Preference.P2 and template.intention == Intention.I0)
        ]
        if not fitting:
            raise InputError(
                f"data set {self.dataset.name!r} has no categories, which every chosen template needs; "
                "give items with categories, or choose templates that state titles alone"
            )
        return fitting

    def build(self, template: Template, draw: Draw, annotations: Annotations) -> Instruction:
        """Build an instruction from a template.

        Args:
            template: A template that `fitting` returns.
            draw: Function that returns random numbers in [0, 1).
            annotations: The teacher's texts; requests without a reply are noted in `annotations.missing`.

        Raises:
            InputError: No fitting event is found in `MAX_ATTEMPTS` attempts.
        """
        for _ in range(MAX_ATTEMPTS):
            instruction = self._attempt(template, draw, annotations)
            if instruction is not None:
                return instruction
        raise InputError(
            f"template {template.id!r} found no fitting event in {MAX_ATTEMPTS} attempts; it needs items with "
            "categories, other items that are new to the user, and titles that differ from each other"
        )

    def _user_logs(self) -> list[_UserLog]:
        """Return the log of each user with at least two distinct items of the catalogue."""
        catalogue = set(self.catalogue)
        first_times: dict[Hashable, dict[Hashable, int]] = {}
        ordered = self.dataset.ordered
        for user, item, time in zip(
            ordered["user_id"].tolist(),
            ordered["item_id"].tolist(),
            ordered["timestamp"].tolist(),
            strict=True,
        ):
            if item in catalogue:
                first_times.setdefault(user, {}).setdefault(item, time)
        return [
            _UserLog(user, list(times), list(times.values()), {item: n for n, item in enumerate(times)})
            for user, times in first_times.items()
            if len(times) >= 2
        ]

    def _attempt(self, template: Template, draw: Draw, annotations: Annotations) -> Instruction | None:
        """Return an instruction for a random user and moment, None if the moment does not fit the template."""
        draft = self._draft(template, draw)
        if template.preference == Preference.P2:
            draft.taste = draft.fields["preference"] = self._taste(draft, annotations)
            if not draft.taste:
                return None
        if template.intention != Intention.I0:
            draft.wish = draft.fields["intention"] = self._wish(draft, draw, annotations)
            if not draft.wish:
                return None
        shown_items, response = self._fill_task(draft, draw)
        if not response:
            return None
        context = NO_CONTEXT
        if "context" in template.fields or draw() < self.settings.context_share:
            context = draft.verbalizer.context(draft.moment.time, draw)
        draft.fields["context"] = draft.verbalizer.opening(context)
        variant = int(draw() * len(template.variants))
        text = template.render(draft.fields, variant)
        if self._leaks(draft, variant, text):
            return None
        return self._instruction(draft, text, response, shown_items, context)

    def _draft(self, template: Template, draw: Draw) -> _Draft:
        """Draw a user and a moment, and start an instruction for them."""
        verbalizer = self.verbalizers[template.language]
        log = self._logs[int(draw() * len(self._logs))]
        moment = _Moment(log, 1 + int(draw() * (len(log.items) - 1)))
        history = self._history(template, moment, verbalizer)
        fields = dict(verbalizer.words)
        if _may_show_titles(template):
            fields["history"] = verbalizer.history(history)
        return _Draft(template, verbalizer, moment, history, fields)

    def _history(self, template: Template, moment: _Moment, verbalizer: Verbalizer) -> list[Hashable]:
        """Return the items that the text is built from: their titles are shown, or a taste in words summarises them."""
        shows_titles = template.preference != Preference.P2 or _may_show_titles(template)
        length = self.settings.history_length if shows_titles else TASTE_LENGTH
        if self.settings.preference_source == "oracle" and template.preference == Preference.P1:
            categories = set(verbalizer.categories[moment.target])
            related = [
                item
                for item in moment.items_before()
                if not categories.isdisjoint(verbalizer.categories[item])
            ]
            if related:
                return related[-length:]
        return moment.items_before(length)

    def _taste(self, draft: _Draft, annotations: Annotations) -> str:
        """Return the taste in words, written by the teacher or the rules; empty if the history shows none."""
        verbalizer, moment = draft.verbalizer, draft.moment
        oracle = self.settings.preference_source == "oracle"
        items = [*draft.history, moment.target] if oracle else draft.history
        reply = annotations.text(
            lambda: AnnotationRequest(
                kind="taste",
                language=verbalizer.language,
                titles=tuple([verbalizer.titles[item] for item in items]),
                categories=(),
                forbidden=self._titles_of(moment.target),
            )
        )
        draft.authors.append(RULES if reply is None else annotations.model)
        return verbalizer.taste(items, moment.time) if reply is None else reply

    def _wish(self, draft: _Draft, draw: Draw, annotations: Annotations) -> str:
        """Return the intention in words: a condition, names of categories or a vague wish; empty without categories."""
        template, verbalizer, target = draft.template, draft.verbalizer, draft.moment.target
        oracle = self.settings.source == "oracle"
        draft.wish_items = self._items_of_wish(draft)
        labels = list(verbalizer.categories[target]) if oracle else verbalizer.labels(draft.wish_items)
        if not labels:
            return ""
        if template.style == Style.PARAMETRIC:
            _, year, price = verbalizer.typical([target] if oracle else draft.wish_items)
            return verbalizer.condition(labels, year, price, draw)
        if template.intention == Intention.I2:
            return verbalizer.join(labels)
        by_rules = verbalizer.wish(labels[int(draw() * len(labels))], draw)
        reply = annotations.text(
            lambda: AnnotationRequest(
                kind="wish",
                language=verbalizer.language,
                titles=(),
                categories=tuple([verbalizer.category_names[label] for label in labels]),
                forbidden=self._titles_of(target),
                # chosen by the draw of the rules too, so that teacher and rules use the same random numbers
                variant=len(by_rules) % N_WISHES,
            )
        )
        draft.authors.append(RULES if reply is None else annotations.model)
        return by_rules if reply is None else reply

    def _items_of_wish(self, draft: _Draft) -> list[Hashable]:
        """Return the items of the history that the wish is derived from, never a history selected by the target."""
        if draft.template.preference == Preference.P1 and self.settings.preference_source == "oracle":
            return draft.moment.items_before(self.settings.history_length)
        return draft.history

    def _titles_of(self, item: Hashable) -> tuple[str, ...]:
        """Return the distinct titles of an item in all languages."""
        return tuple(dict.fromkeys(verbalizer.titles[item] for verbalizer in self.verbalizers.values()))

    def _fill_task(self, draft: _Draft, draw: Draw) -> tuple[tuple[Hashable, ...], str]:
        """Fill the fields of the task form; return the items shown and the response, empty if there is none."""
        template, verbalizer, fields = draft.template, draft.verbalizer, draft.fields
        target = draft.moment.target
        fields["title"] = verbalizer.titles[target]
        if template.task == TaskForm.T2:
            if "item" not in template.fields:
                return (), template.respond(fields)
            fields["item"] = verbalizer.quoted[target]
            return (target,), template.respond(fields)
        negatives = self._negatives(draft.moment, _N_NEGATIVES[template.task], verbalizer, draw)
        if not negatives:
            return (), ""
        if template.task == TaskForm.T0:
            is_target = draw() < 0.5
            item = target if is_target else negatives[0]
            fields["item"] = verbalizer.quoted[item]
            return (item,), verbalizer.wordings["yes_no"][0 if is_target else 1]
        position = int(draw() * (len(negatives) + 1))
        candidates = [*negatives[:position], target, *negatives[position:]]
        if template.task == TaskForm.T1:
            fields["item_a"], fields["item_b"] = [verbalizer.quoted[item] for item in candidates]
            return tuple(candidates), "AB"[position]
        fields["candidates"] = "\n".join(
            [f"{number}. {verbalizer.titles[item]}" for number, item in enumerate(candidates, 1)]
        )
        return tuple(candidates), template.respond(fields)

    def _negatives(self, moment: _Moment, n: int, verbalizer: Verbalizer, draw: Draw) -> list[Hashable]:
        """Return n items new to the user at the moment, with different titles; fewer in a small catalogue."""
        catalogue, titles = self.catalogue, verbalizer.titles
        used_titles = {titles[moment.target]}
        negatives: list[Hashable] = []

        def add(item: Hashable) -> bool:
            """Add an item if it is a negative; return whether there are n of them."""
            if not moment.is_known(item) and titles[item] not in used_titles:
                negatives.append(item)
                used_titles.add(titles[item])
            return len(negatives) == n

        for _ in range(20 * n):
            if add(catalogue[int(draw() * len(catalogue))]):
                return negatives
        start = int(draw() * len(catalogue))
        for item in (*catalogue[start:], *catalogue[:start]):
            if add(item):
                break
        return negatives

    def _leaks(self, draft: _Draft, variant: int, text: str) -> bool:
        """Return whether the text contains the answer, other than as a candidate."""
        template, target = draft.template, draft.moment.target
        if template.answer in (Answer.PREFERENCE, Answer.BOTH) and draft.taste and draft.taste in text:
            return True
        if template.answer in (Answer.INTENTION, Answer.BOTH) and draft.wish:
            # a vague wish may be a title: "courage under fire" is a film as well
            is_vague = template.intention == Intention.I1
            if draft.wish in text or (is_vague and plain(draft.wish) in plain(text)):
                return True
        if template.task == TaskForm.T2 and "item" not in template.fields:
            return self._holds_title(plain(text), target)
        # candidates show titles, so check the template's own words and the other fields only
        if target in self._items_in_wording_of(template, variant):
            return True
        fields = f"{draft.fields.get('history', '')}\n{draft.taste}\n{draft.wish}\n{draft.fields['context']}"
        return self._holds_title(plain(fields), target)

    def _items_in_wording_of(self, template: Template, variant: int) -> frozenset[Hashable]:
        """Return the items whose title occurs in a template's own words, such as the film "Up"."""
        key = (template.id, variant)
        if key not in self._items_in_wording:
            wording = re.sub(r"{{.*?}}|{%.*?%}", "\n", template.variants[variant])
            text = plain("\n".join((wording, *self.verbalizers[template.language].words.values())))
            self._items_in_wording[key] = frozenset(
                item for item in self.catalogue if self._holds_title(text, item)
            )
        return self._items_in_wording[key]

    def _holds_title(self, text: str, item: Hashable) -> bool:
        """Return whether a text, normalised by `plain`, contains a form of the item's title as whole words."""
        return any(stands_alone(form, text) for form in self._title_forms[item])

    def _instruction(
        self,
        draft: _Draft,
        text: str,
        response: str,
        shown_items: tuple[Hashable, ...],
        context: Context,
    ) -> Instruction:
        """Return the completed draft; `history` holds all items that the text is built from."""
        template, moment, settings = draft.template, draft.moment, self.settings
        answers_item = template.answer in (Answer.ITEM, Answer.REASONED_ITEM)
        wish_from_history = bool(draft.wish) and settings.source != "oracle"
        history = draft.history
        if wish_from_history and draft.wish_items != history:
            items = {*history, *draft.wish_items}
            history = [item for item in moment.items_before() if item in items]
        uses_history = template.preference != Preference.P0 or wish_from_history
        return Instruction(
            text=text,
            response=response,
            task=template.task,
            preference=template.preference,
            intention=template.intention,
            language=template.language,
            user_id=moment.log.user,
            target=moment.target if answers_item else None,
            history=tuple(history) if uses_history else (),
            candidates=shown_items,
            template=template.id,
            intention_source=settings.source if draft.wish else None,
            context=context,
            held_out=template.held_out,
            dataset=self.dataset.name,
            style=template.style,
            answer=template.answer,
            preference_source=settings.preference_source if template.preference != Preference.P0 else None,
            preference_text=draft.taste,
            intention_text=draft.wish,
            annotator="+".join(dict.fromkeys(draft.authors)) or RULES,
            cut=moment.cut,
        )


def _may_show_titles(template: Template) -> bool:
    """Return whether a template has a history field, or asks for the taste behind titles."""
    return "history" in template.fields or template.answer == Answer.PREFERENCE
