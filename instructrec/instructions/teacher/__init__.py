"""A teacher model, where there is one: an OpenAI-compatible endpoint that puts taste (P2) and wishes (I1) into words.

In the paper a large language model writes them (Zhang et al., 2023, arXiv:2305.07001); here the rules of `annotate` do
by default, and a teacher may take their place. It is told titles and names of categories, nothing else. What it replied
is kept in an SQLite file under a digest of what it was asked, so that nothing is asked twice and nothing finished is
lost. Derived in chapter `instruction-generation`.
"""

from instructrec.instructions.teacher.client import ATTEMPTS, Budget, BudgetSpent, Stats, Teacher
from instructrec.instructions.teacher.endpoint import SAMPLING
from instructrec.instructions.teacher.replies import LONGEST, accept
from instructrec.instructions.teacher.requests import KINDS, AnnotationRequest

__all__ = [
    "ATTEMPTS",
    "KINDS",
    "LONGEST",
    "SAMPLING",
    "AnnotationRequest",
    "Budget",
    "BudgetSpent",
    "Stats",
    "Teacher",
    "accept",
]
