"""Sentence frames of queries, from the editable data file `query_frames.toml`, filled in at random.

Derived in chapter `instruction-tuning`.
"""

from __future__ import annotations

from functools import cache

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.category_words import domain_words
from instructrec.instructions.schema import Answer, Intention, Preference, Style, TaskForm
from instructrec.instructions.templates import Template, load_templates
from instructrec.instructions.verbalizer import Draw, Verbalizer
from instructrec.wordings import read_wordings

QUESTION_KINDS = ("query", "taste")
"""Kinds of frames that ask for words instead of items."""
GRAMMAR_SHARE = 0.6
"""Share of the texts that are composed from parts of the grammar; the others fill whole frames."""
CATEGORY_FIRST_SHARE = 0.3
"""Share of the composed texts that begin with the category ("horror is not for me"), if the grammar has such parts."""
TEMPLATE_FRAME_WEIGHT = 3
"""A frame of the templates is drawn this many times as often as a frame of `query_frames.toml`."""
_SLOTS = ("category", "other", "decade", "word", "wish", "item", "taste")
_KIND_OF_TEMPLATE = {
    (Preference.P0, Intention.I1): ("wish", "wish"),
    (Preference.P0, Intention.I2): ("category", "category"),
    (Preference.P2, Intention.I0): ("taste_told", ""),
    (Preference.P2, Intention.I1): ("taste_wish", "wish"),
    (Preference.P2, Intention.I2): ("taste_category", "category"),
}
"""The kind of frame that a template gives, and the slot that its intention becomes."""


@cache
def query_frames() -> dict[str, dict[str, list[str]]]:
    """Return the content of `query_frames.toml`: frames by language and kind, and parts of the grammar."""
    return read_wordings("query_frames")


def question_text(dataset: Dataset, question: str, language: str) -> str:
    """Return the first text of a question, with {item} in it if it is about an item.

    Args:
        dataset: Data set whose domain determines the words for items.
        question: One of `QUESTION_KINDS`.
        language: "en" or "zh".
    """
    frame = query_frames()[language][question][0]
    return frame.format(**domain_words(dataset, language), item="{item}")


class QueryFrames:
    """Frames of one language: those of `query_frames.toml` and those of the package's templates.

    Args:
        verbalizer: Gives the language and the domain's words.

    Attributes:
        by_kind: Frames of each kind.
    """

    def __init__(self, verbalizer: Verbalizer) -> None:
        self.language, self._words = verbalizer.language, verbalizer.words
        self._grammar = query_frames()[f"grammar_{self.language}"]
        self._separator = "" if self.language == "zh" else " "
        self.by_kind = {kind: list(frames) for kind, frames in query_frames()[self.language].items()}
        for kind in QUESTION_KINDS:
            self.by_kind[kind] = [frame.format(**self._words, item="{item}") for frame in self.by_kind[kind]]
        for template in load_templates(self.language):
            if _gives_frames(template):
                kind, slot = _KIND_OF_TEMPLATE[template.preference, template.intention]
                self.by_kind[kind] += TEMPLATE_FRAME_WEIGHT * self._frames_of(template, slot)

    def _frames_of(self, template: Template, slot: str) -> list[str]:
        words = {name: f"{{{name}}}" for name in self._words}
        fields = {**words, "context": "", "intention": f"{{{slot}}}", "preference": "{taste}"}
        return [template.render(fields, variant) for variant in range(len(template.variants))]

    def fill(self, kind: str, draw: Draw, **values: str) -> str:
        """Return a random frame of a kind, filled in."""
        frames = self.by_kind[kind]
        return frames[int(draw() * len(frames))].format(**self._words, **values)

    def part(self, name: str, draw: Draw, **values: str) -> str:
        """Return a random part of the grammar, filled in."""
        parts = self._grammar[name]
        return parts[int(draw() * len(parts))].format(**self._words, **values)

    def request(self, kind: str, phrase: str, draw: Draw) -> str:
        """Return a request for a category or a wish, composed from parts or in a frame of its kind."""
        if draw() >= GRAMMAR_SHARE:
            return self.fill(kind, draw, **{kind: phrase})
        return self.compose(phrase, draw, complete=kind == "wish")

    def compose(
        self, phrase: str, draw: Draw, *, refuse: bool = False, complete: bool = False, suffix: str = ""
    ) -> str:
        """Return a plain request or refusal that is composed from parts of the grammar.

        Args:
            phrase: Content of the request or refusal, such as "horror".
            draw: Random numbers in [0, 1).
            refuse: Whether the text refuses the phrase.
            complete: Whether the phrase takes neither an article nor a noun, such as "something new".
            suffix: Words after the phrase, such as "from the 1990s", in place of a noun.
        """
        before = "" if refuse or complete else self.part("before", draw)
        if not suffix:
            # drawn even if unused, so that later random draws do not change
            noun = self.part("after", draw)
            suffix = "" if complete else noun
        middle = (before, phrase, suffix)
        ending = "refused" if refuse else "wanted"
        if ending in self._grammar and draw() < CATEGORY_FIRST_SHARE:
            parts = [self.part("opening", draw), *middle, self.part(ending, draw)]
        else:
            opening, verb = self.part("opening", draw), self.part("refuse" if refuse else "ask", draw)
            parts = [opening, verb, *middle, self.part("end" if refuse else "closing", draw)]
        return self._separator.join(part for part in parts if part)

    def connect(self, *texts: str) -> str:
        """Return texts joined as words of one sentence."""
        return self._separator.join(texts)

    def bare_frames(self) -> list[str]:
        """Return all frames with their slots empty."""
        slots = dict.fromkeys(_SLOTS, " ")
        return [frame.format(**self._words, **slots) for frames in self.by_kind.values() for frame in frames]

    def bare_parts(self, *names: str) -> list[str]:
        """Return parts of the grammar with their slots empty, all parts by default; unknown names are skipped."""
        return [
            part.format(**self._words, decade=" ")
            for name in names or self._grammar
            for part in self._grammar.get(name, ())
        ]

    def bare_refusals(self) -> list[str]:
        """Return all frames and parts that refuse, with their slots empty."""
        frames = [
            frame.format(**self._words, category=" ", other=" ")
            for kind in ("refusal", "category_refusal")
            for frame in self.by_kind[kind]
        ]
        return frames + self.bare_parts("refuse", "refused")


def _gives_frames(template: Template) -> bool:
    """Return whether a template is for training and states only a taste and an intention."""
    return (
        not template.held_out
        and (template.task, template.style, template.answer) == (TaskForm.T2, Style.PLAIN, Answer.ITEM)
        and (template.preference, template.intention) in _KIND_OF_TEMPLATE
    )
