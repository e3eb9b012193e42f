"""A request in simple words as a constraint: finds the spans, then combines them.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain

from instructrec.datasets.dataset import Dataset
from instructrec.instructions.parsing.constraint import (
    Compare,
    Constraint,
    In,
    Node,
    conjunction,
    constrain,
    negation,
)
from instructrec.instructions.parsing.fields import CATEGORIES, NUMBER, POPULARITY, fields_of
from instructrec.instructions.parsing.rules.categories import category_spans, category_words
from instructrec.instructions.parsing.rules.ignored import ignored_words
from instructrec.instructions.parsing.rules.negation import Mention, find_mentions, is_list_gap
from instructrec.instructions.parsing.rules.popularity import popularity_rules
from instructrec.instructions.parsing.rules.prices import bare_price_rules, price_rules
from instructrec.instructions.parsing.rules.spans import Span, condition_spans
from instructrec.instructions.parsing.rules.years import joined_years, year_rules
from instructrec.wordings.lexicon import normal

_OR = re.compile(r"\bn?or\b|/|或|还是|、")
_AND = re.compile(r"\band\b|&|和|与|以及|、")
_ENDS_WITH_BETWEEN = re.compile(r"\bbetween\s*$")


def parse_keywords(text: str, dataset: Dataset) -> Constraint:
    """Parse a request in simple words.

    Several categories must all hold, unless "or" joins them or no item has them all. A negation reaches to the end of
    its list ("no horror or war"). "Cheap", "expensive", "old", "recent", "popular" and "obscure" mean the catalogue's
    own outer quarters; "around" means a deviation of up to a fifth. A word that needs a column that the data set lacks,
    such as a price, is ignored.

    Args:
        text: The request, in English or Chinese.
        dataset: The data set whose items are requested.

    Returns:
        The constraint; empty where nothing was understood.
    """
    plain = normal(text)
    mentions = list(find_mentions(plain, _find_spans(plain, dataset)))
    groups, refused = _categories(mentions)
    conditions, joints = _conditions(plain, mentions)
    refusals = [negation(_category_node(dataset, [name])) for name in refused]
    expression = conjunction(
        list(dict.fromkeys([*_wanted_nodes(groups, plain, dataset), *refusals, *conditions]))
    )
    if expression is None:
        return Constraint(None, text.strip())
    understood = [(mention.span.start, mention.span.end) for mention in mentions]
    understood += [mention.refusal for mention in mentions if mention.refusal is not None]
    return constrain(expression, dataset, ignored_words(plain, understood + joints))


def _find_spans(text: str, dataset: Dataset) -> list[Span]:
    """Return the spans of all subjects that the data set has columns for, in the order of the text."""
    fields = fields_of(dataset.items, dataset.category_field)
    has_year, has_price = (name in fields and fields[name].kind == NUMBER for name in ("year", "price"))
    words = category_words(dataset)
    rules = price_rules(dataset) if has_price else []
    rules += year_rules(dataset, words) if has_year else []
    rules += bare_price_rules() if has_price else []
    if POPULARITY in dataset.items.columns or dataset.n_interactions > 0:
        rules += popularity_rules()
    spans = [*condition_spans(text, rules), *category_spans(text, words)]
    return sorted(spans, key=lambda span: span.start)


def _categories(mentions: Iterable[Mention]) -> tuple[list[list[str]], list[str]]:
    """Return the groups of alternative categories that are wanted, and the categories that are refused."""
    groups: list[list[str]] = []
    refused: list[str] = []
    extends_group = False  # whether the mention before is a wanted category
    for mention in mentions:
        category = mention.span.category
        if category is not None and mention.negated:
            refused.append(category)
        elif category is not None and extends_group and _is_or_gap(mention.gap):
            groups[-1].append(category)
        elif category is not None:
            groups.append([category])
        extends_group = category is not None and not mention.negated
    groups = [[name for name in dict.fromkeys(group) if name not in refused] for group in groups]
    distinct = [list(group) for group in dict.fromkeys(map(tuple, groups)) if group]
    return distinct, list(dict.fromkeys(refused))


def _conditions(text: str, mentions: Iterable[Mention]) -> tuple[list[Node], list[tuple[int, int]]]:
    """Return the conditions other than categories, and start and end of the words that join years."""
    conditions: list[Node] = []
    joints: list[tuple[int, int]] = []
    previous: Node | None = None
    previous_start, previous_negated = 0, False
    for mention in mentions:
        condition, negated, start = mention.span.condition, mention.negated, mention.span.start
        if condition is not None:
            after_between = _ENDS_WITH_BETWEEN.search(text[:previous_start][-12:]) is not None
            joined = None if negated else joined_years(previous, condition, mention.gap, after_between)
            if joined is not None:
                condition, negated = joined, previous_negated
                conditions.pop()
                joints.append((mention.gap_start, start))
            conditions.append(negation(condition) if negated else condition)
        previous, previous_start, previous_negated = condition, start, negated
    return conditions, joints


def _wanted_nodes(groups: list[list[str]], text: str, dataset: Dataset) -> list[Node]:
    """Return a condition a group; if "and" joins groups that no item satisfies together, they are alternatives."""
    nodes = [_category_node(dataset, group) for group in groups]
    joined_by_and = len(nodes) > 1 and _AND.search(text) is not None
    if joined_by_and and not Constraint(conjunction(nodes)).mask(dataset.items).any():
        return [_category_node(dataset, list(dict.fromkeys(chain.from_iterable(groups))))]
    return nodes


def _category_node(dataset: Dataset, names: list[str]) -> Node:
    """Return the condition that an item has one of the categories."""
    if len(names) == 1:
        return Compare(dataset.category_field, CATEGORIES, "=", names[0])
    return In(dataset.category_field, CATEGORIES, tuple(names))


def _is_or_gap(gap: str) -> bool:
    return is_list_gap(gap) and _OR.search(gap) is not None
