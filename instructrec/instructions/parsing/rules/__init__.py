"""Parsing of requests in simple words, English or Chinese: "no horror, after 1990, popular", "便宜的科幻片".

`parse_keywords` takes five steps, each in a module of its own:

1. `wordings.lexicon.normal` folds the text: width, upper and lower case, apostrophes.
2. Spans are found, each a stretch of the text that stands for a condition or a category. A module per subject has the
   rules: `prices`, `years`, `popularity` (a `Rule` is a pattern and the condition of a match) and `categories`. Rules
   are tried in their order, and a stretch that one rule has matched is hidden from the later rules.
3. `negation` decides which spans are refused: by words before them ("no", "不要"), by words behind them ("恐怖片不要"),
   or as a further element of a refused list ("no horror or war").
4. `request` combines the spans: categories joined by "or" are alternatives, other categories must all hold, refused
   spans are negated, and "the 1970s or 1980s" is one condition.
5. `ignored` lists the words that no step has used and that carry meaning.

To support another subject, such as brands, add a module with rules or spans, and call it in `request._find_spans`;
steps 3 to 5 need no change. To support other words for a subject, extend a pattern of its module, or the lexicon for
categories. Chinese and English words stand in the same pattern, since requests mix them. Rules like these are the
baseline that a language model has to beat. Derived in chapter `instruction-generation`.
"""

from instructrec.instructions.parsing.rules.request import parse_keywords

__all__ = ["parse_keywords"]
