"""Find faults of a single instruction that can be measured from its words, the interactions and the item table.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.quality.category_reader import CategoryMentions
from instructrec.instructions.quality.facts import DatasetFacts
from instructrec.instructions.quality.properties import mentions_in
from instructrec.instructions.schema import Answer, Instruction, Intention, Style, TaskForm

MAX_TOKENS = 512
"""Maximum number of tokens that the paper's model can read."""

_CHARACTERS_PER_TOKEN = 4.0
_CJK = re.compile("[\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]")


def faults(
    instruction: Instruction, dataset: Dataset | DatasetFacts, max_tokens: int = MAX_TOKENS
) -> list[str]:
    """Return the measurable faults of an instruction, each a sentence; an empty list does not prove a good instruction.

    The faults are: several candidates that satisfy the intention; a target that does not satisfy the intention or
    condition; a preference that shares no category with the target; a preference and an intention, one of which
    refuses a category that the other names; text and response together too long; a title that occurs
    twice among the candidates. An English title within a Chinese text is not a fault.

    Args:
        instruction: The instruction.
        dataset: The data set that the instruction was built from. For many instructions pass one `DatasetFacts`, which
            reads the interactions once.
        max_tokens: Maximum number of tokens of text and response together, as counted by `estimate_tokens`.
    """
    facts = dataset if isinstance(dataset, DatasetFacts) else DatasetFacts(dataset)
    has_condition = instruction.style == Style.PARAMETRIC and bool(instruction.intention_text)
    intention = mentions_in(instruction.intention_text, "condition" if has_condition else "intention", facts)
    preference = mentions_in(instruction.preference_text, "preference", facts)
    matching = facts.matching_items(instruction.intention_text) if has_condition else None
    return [
        *_ambiguity(instruction, intention, matching, facts),
        *_contradictions(instruction, intention, preference, matching, facts),
        *_excessive_length(instruction, max_tokens),
        *_repeated_titles(instruction, facts),
    ]


def estimate_tokens(text: str) -> int:
    """Return an estimate of a text's length in tokens: one per Chinese character, one per four other characters.

    This is the rule of thumb for English subword vocabularies; a model's own tokenizer gives the exact number.
    """
    chinese = len(_CJK.findall(text))
    return chinese + math.ceil((len(text) - chinese) / _CHARACTERS_PER_TOKEN)


def _ambiguity(
    instruction: Instruction,
    intention: CategoryMentions,
    matching: frozenset[Hashable] | None,
    facts: DatasetFacts,
) -> Iterator[str]:
    """Yield a fault if an item is requested and several candidates satisfy the intention."""
    asks_for_item = instruction.answer in (Answer.ITEM, Answer.REASONED_ITEM)
    if not asks_for_item or instruction.task not in (TaskForm.T1, TaskForm.T3):
        return
    if instruction.intention != Intention.I2 or not (intention.desired or matching is not None):
        return
    candidates = instruction.candidates
    if matching is not None:
        n_fitting = sum(item in matching for item in candidates)
    else:
        n_fitting = sum(intention.desired <= facts.categories.get(item, frozenset()) for item in candidates)
    if n_fitting > 1:
        yield f"ambiguous: {n_fitting} of {len(candidates)} candidates fit {instruction.intention_text!r}"


def _contradictions(
    instruction: Instruction,
    intention: CategoryMentions,
    preference: CategoryMentions,
    matching: frozenset[Hashable] | None,
    facts: DatasetFacts,
) -> Iterator[str]:
    """Yield the contradictions between intention, preference and the target's attributes."""
    target = _target(instruction, facts)
    categories = facts.categories.get(target, frozenset())
    if matching is not None:
        if target is not None and target not in matching:
            yield f"the target does not meet the condition {instruction.intention_text!r}"
    elif _are_disjoint(intention.desired, categories):
        yield f"the wish contradicts the target: {_join(intention.desired)} against {_join(categories)}"
    if _are_disjoint(preference.desired, categories):
        yield f"the target is unlike the taste: {_join(categories)} against {_join(preference.desired)}"
    conflict = (intention.desired & preference.avoided) | (intention.avoided & preference.desired)
    if conflict:
        yield f"preference and intention are at odds over {_join(conflict)}"


def _excessive_length(instruction: Instruction, max_tokens: int) -> Iterator[str]:
    n_tokens = estimate_tokens(instruction.text) + estimate_tokens(instruction.response)
    if n_tokens > max_tokens:
        yield f"too long: about {n_tokens} tokens, {max_tokens} can be read"


def _repeated_titles(instruction: Instruction, facts: DatasetFacts) -> Iterator[str]:
    candidates = instruction.candidates
    titles = Counter(facts.displayed_title(item, instruction.language) for item in dict.fromkeys(candidates))
    repeated = [repr(title) for title, count in titles.items() if count > 1 and title]
    if repeated or len(set(candidates)) < len(candidates):
        yield f"a title stands twice among the candidates: {', '.join(repeated) or 'one item'}"


def _target(instruction: Instruction, facts: DatasetFacts) -> Hashable | None:
    """Return the target of an instruction, or the user's next item if the instruction has no target."""
    timeline = facts.timeline(instruction.user_id)
    if instruction.target is not None or timeline is None or instruction.cut >= len(timeline.items):
        return instruction.target
    return timeline.items[instruction.cut]


def _are_disjoint(desired: frozenset[str], categories: frozenset[str]) -> bool:
    """Return whether two sets of categories share no member; False if one is empty, since nothing is known then."""
    return bool(desired) and bool(categories) and desired.isdisjoint(categories)


def _join(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
