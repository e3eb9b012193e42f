"""A teacher model: an OpenAI-compatible endpoint that puts a taste (P2) or a wish (I1) into words.

In the paper a large language model writes them (Zhang et al., 2023, arXiv:2305.07001). Here the rules of `verbalizer`
do by default, and a teacher can replace them. It receives titles and names of categories, nothing else. Its replies are
stored in an SQLite file under a digest of the question, so that no question is sent twice and no reply is lost.

Derived in chapter `instruction-generation`.
"""

from instructrec.instructions.teacher.batch import MAX_ATTEMPTS
from instructrec.instructions.teacher.client import Budget, BudgetSpent, Teacher, TeacherStats
from instructrec.instructions.teacher.endpoint import SAMPLING
from instructrec.instructions.teacher.replies import MAX_CHARACTERS, accept
from instructrec.instructions.teacher.requests import REQUEST_KINDS, AnnotationRequest

__all__ = [
    "MAX_ATTEMPTS",
    "MAX_CHARACTERS",
    "REQUEST_KINDS",
    "SAMPLING",
    "AnnotationRequest",
    "Budget",
    "BudgetSpent",
    "Teacher",
    "TeacherStats",
    "accept",
]
