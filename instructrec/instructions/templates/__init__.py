"""Templates of instructions: editable TOML files, one a language, whose wordings are Jinja2 text.

A template states its id, kind, task, preference and intention, and one or more `variants` of the wording. The fields
that a wording may name follow from what the template states:

    always      thing, things, take, took (the domain's words), context (empty or a phrase); in Chinese also measure
    P1          history     titles, oldest first
    P2          preference  the taste in words
    I1, I2      intention   the wish, or the categories' names
    T0          item        the title in question
    T1          item_a, item_b
    T3          candidates  the titles to choose from, numbered, one a line

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructrec.errors import InputError, one_of
from instructrec.instructions.lexicon import LANGUAGES
from instructrec.instructions.schema import Intention, Preference, TaskForm, member

if TYPE_CHECKING:
    from jinja2 import Environment

KINDS = ("preference", "intention", "combined")
_KEYS = ("id", "kind", "task", "preference", "intention", "held_out", "variants")
_WORDS = {"thing", "things", "take", "took", "context"}
_ALWAYS = {"en": frozenset(_WORDS), "zh": frozenset(_WORDS | {"measure"})}
_PREFERENCE_FIELDS = {Preference.P1: {"history"}, Preference.P2: {"preference"}}
_TASK_FIELDS = {TaskForm.T0: {"item"}, TaskForm.T1: {"item_a", "item_b"}, TaskForm.T3: {"candidates"}}


@dataclass(frozen=True)
class Template:
    """One template with its wordings.

    Attributes:
        id: Unique within its file.
        language: "en" or "zh".
        kind: "preference", "intention" or "combined".
        task: Form of the answer.
        preference: What it says about lasting taste.
        intention: What it says about the wish of the moment.
        variants: Wordings, Jinja2 text.
        held_out: Whether it is kept for evaluation.
    """

    id: str
    language: str
    kind: str
    task: TaskForm
    preference: Preference
    intention: Intention
    variants: tuple[str, ...]
    held_out: bool = False
    _compiled: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    def render(self, fields: Mapping[str, str], variant: int = 0) -> str:
        """Fill a wording in.

        Args:
            fields: A text for each field that the wording names.
            variant: Number of the wording.

        Raises:
            InputError: A field is missing.
        """
        from jinja2 import UndefinedError

        try:
            return str(self._compiled[variant].render(fields)).strip()
        except UndefinedError as error:
            raise InputError(
                f"template {self.id!r}: {error}; give a text for each field that it names"
            ) from None


def load_templates(language: str, path: str | Path | None = None) -> tuple[Template, ...]:
    """Read and check the templates of a language.

    Args:
        language: "en" or "zh".
        path: A file of your own; the package's file by default.

    Raises:
        InputError: The file cannot be read, or one of its templates is wrong: names the template, the file and what
            would be accepted.
    """
    if language not in LANGUAGES:
        raise one_of("language", language, LANGUAGES)
    if path is None:
        return _packaged(language)
    return _read(Path(path), language)


@cache
def _packaged(language: str) -> tuple[Template, ...]:
    return _read(Path(__file__).with_name(f"{language}.toml"), language)


@cache
def _environment() -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _read(path: Path, language: str) -> tuple[Template, ...]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"templates {str(path)!r} cannot be read: {reason}; give a TOML file of templates"
        ) from None
    entries = content.get("template")
    if set(content) != {"template"} or not isinstance(entries, list) or not entries:
        raise InputError(f"templates {str(path)!r}: only [[template]] tables are accepted, and at least one")
    templates: dict[str, Template] = {}
    for number, entry in enumerate(entries, 1):
        where = f"template {str(entry.get('id', f'number {number}'))!r} in {str(path)!r}"
        try:
            template = _template(entry, language)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if template.id in templates:
            raise InputError(f"{where}: a second one of this id; give each an id of its own")
        templates[template.id] = template
    return tuple(templates.values())


def _template(entry: Mapping[str, Any], language: str) -> Template:
    for key in entry:
        if key not in _KEYS:
            raise one_of("key", key, _KEYS)
    for key in _KEYS:
        if key not in entry and key != "held_out":
            raise InputError(f"{key} is missing; accepted keys: {', '.join(_KEYS)}")
    if not isinstance(entry["id"], str) or not entry["id"]:
        raise InputError(f"id is {entry['id']!r}; a text is accepted")
    if entry["kind"] not in KINDS:
        raise one_of("kind", entry["kind"], KINDS)
    task, preference = member(TaskForm, entry["task"]), member(Preference, entry["preference"])
    intention = member(Intention, entry["intention"])
    states = (preference != Preference.P0, intention != Intention.I0)
    if (
        states
        != {"preference": (True, False), "intention": (False, True), "combined": (True, True)}[entry["kind"]]
    ):
        raise InputError(f"kind {entry['kind']!r} does not go with {preference} and {intention}")
    variants = entry["variants"]
    if (
        not isinstance(variants, list)
        or not variants
        or not all(isinstance(text, str) and text for text in variants)
    ):
        raise InputError(f"variants is {variants!r}; a list of at least one wording is accepted")
    if not isinstance(entry.get("held_out", False), bool):
        raise InputError(f"held_out is {entry['held_out']!r}; true or false is accepted")
    needed = _PREFERENCE_FIELDS.get(preference, set()) | _TASK_FIELDS.get(task, set())
    needed |= {"intention"} if intention != Intention.I0 else set()
    compiled = tuple(_wording(text, needed, _ALWAYS[language]) for text in variants)
    return Template(
        id=entry["id"],
        language=language,
        kind=entry["kind"],
        task=task,
        preference=preference,
        intention=intention,
        variants=tuple(variants),
        held_out=entry.get("held_out", False),
        _compiled=compiled,
    )


def _wording(text: str, needed: set[str], always: frozenset[str]) -> Any:
    from jinja2 import TemplateSyntaxError, meta

    environment = _environment()
    try:
        named = meta.find_undeclared_variables(environment.parse(text))
    except TemplateSyntaxError as error:
        raise InputError(f"wording {text!r}: {error.message}; Jinja2 text is accepted") from None
    for name in sorted(named - needed - always):
        raise one_of("field", name, sorted(needed | always), most=12)
    for name in sorted(needed - named):
        raise InputError(
            f"wording {text!r} never names {{{{ {name} }}}}, which its task, preference or intention needs"
        )
    return environment.from_string(text)
