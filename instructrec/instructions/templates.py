"""Templates of instructions: an editable TOML file whose wordings are Jinja2 text.

A template states its id, kind, task, preference and intention, and one or more `variants` of the wording; optionally
its style, what is answered, the wording of the `response`, and whether it is held out. `variants` and `response` are
given for a file's single language, or as `variants.en` and `variants.zh`, translations beside each other: then the
template has in each language an id of its own, such as "en-pref-p1-t0". The fields that a wording must name follow
from what the template states:

    always      thing, things, take, took (the domain's words), context (empty or a phrase); in Chinese also measure.
                None of these must be named, but a template with neither preference nor intention must name context
    P1          history     titles, oldest first
    P2          preference  the taste in words
    I1, I2      intention   the wish, the categories' names, or (style parametric) a condition
    T0          item        the title in question
    T1          item_a, item_b
    T3          candidates  the titles to choose from, numbered, one per line

What is answered is not stated in the text. So with `answer`:

    preference     (P2) the text names history, or in style related the intention; history may be named as well
    reasoned_item  (P2) the text names history, the response is the taste and then the title
    intention      (I1, I2) turned round, the text names item, the chosen title, and the preference; related, the
                   preference only
    both           (P2 and I1, I2) the text names history and item

`response` is Jinja2 text too and names preference, intention or title; only `both` and `reasoned_item` need it.
Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructrec.errors import InputError, one_of
from instructrec.instructions.schema import Answer, Intention, Preference, Style, TaskForm, member
from instructrec.wordings import FOLDER
from instructrec.wordings.lexicon import LANGUAGES

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES_FILE = FOLDER / "templates.toml"
"""The package's own templates, in all languages."""
TEMPLATE_KINDS = ("preference", "intention", "combined", "context")
_KEYS = (
    "id",
    "kind",
    "task",
    "preference",
    "intention",
    "style",
    "answer",
    "held_out",
    "response",
    "variants",
)
_OPTIONAL_KEYS = ("style", "answer", "held_out", "response")
_WORDING_KEYS = ("variants", "response")
_DOMAIN_FIELDS = {"thing", "things", "take", "took", "context"}
_ALWAYS_ALLOWED = {"en": frozenset(_DOMAIN_FIELDS), "zh": frozenset(_DOMAIN_FIELDS | {"measure"})}
_KIND_OF = {
    (False, False): "context",
    (True, False): "preference",
    (False, True): "intention",
    (True, True): "combined",
}
"""The kind of a template that states a preference or not, and an intention or not."""
_PREFERENCE_FIELDS = {Preference.P0: set(), Preference.P1: {"history"}, Preference.P2: {"preference"}}
_TASK_FIELDS = {
    TaskForm.T0: {"item"},
    TaskForm.T1: {"item_a", "item_b"},
    TaskForm.T2: set(),
    TaskForm.T3: {"candidates"},
}
_STYLES_OF = {
    Answer.ITEM: (Style.PLAIN, Style.PARAMETRIC),
    Answer.REASONED_ITEM: (Style.CHAIN_OF_THOUGHT,),
    Answer.PREFERENCE: (Style.TURNED_ROUND, Style.RELATED),
    Answer.INTENTION: (Style.TURNED_ROUND, Style.RELATED),
    Answer.BOTH: (Style.TURNED_ROUND,),
}
_RESPONSE_FIELDS = {
    Answer.ITEM: {"title"},
    Answer.REASONED_ITEM: {"preference", "title"},
    Answer.PREFERENCE: {"preference"},
    Answer.INTENTION: {"intention"},
    Answer.BOTH: {"preference", "intention"},
}

Renderer = Callable[[Mapping[str, str]], str]


@dataclass(frozen=True)
class Template:
    """A template with its wordings in one language.

    Attributes:
        id: Unique within its file and language.
        language: "en" or "zh".
        kind: "preference", "intention", "combined", or "context" if it states neither.
        task: Form of the answer.
        preference: Kind of preference (lasting taste) in the text or in the answer.
        intention: Kind of intention (wish of the moment) in the text or in the answer.
        variants: Wordings, Jinja2 text.
        held_out: Whether the template is held out for evaluation.
        style: Style of the instruction.
        answer: Content of the answer.
        response: Wording of the answer, Jinja2 text.
        fields: Names of the fields that every wording names.
        file: Path of the file that it was read from, None for the package's own.
    """

    id: str
    language: str
    kind: str
    task: TaskForm
    preference: Preference
    intention: Intention
    variants: tuple[str, ...]
    held_out: bool = False
    style: Style = Style.PLAIN
    answer: Answer = Answer.ITEM
    response: str = "{{ title }}"
    fields: frozenset[str] = frozenset()
    file: str | None = None
    _renderers: tuple[Renderer, ...] = field(default=(), repr=False, compare=False)
    _response_renderer: Renderer = field(default=lambda fields: fields["title"], repr=False, compare=False)

    def render(self, fields: Mapping[str, str], variant: int = 0) -> str:
        """Return a wording filled in.

        Args:
            fields: A text for each field that the wording names.
            variant: Number of the wording.

        Raises:
            InputError: A field is missing, the wording needs something that these texts lack, or the result is empty.
        """
        text = self._fill(self._renderers[variant], fields)
        if not text:
            raise InputError(f"template {self.id!r} gives an empty text; correct wording {variant + 1}")
        return text

    def respond(self, fields: Mapping[str, str]) -> str:
        """Return the wording of the answer filled in.

        Args:
            fields: `title`, `preference`, `intention`, those that the answer names.

        Raises:
            InputError: A field is missing.
        """
        return self._fill(self._response_renderer, fields)

    def _fill(self, renderer: Renderer, fields: Mapping[str, str]) -> str:
        from jinja2 import UndefinedError

        try:
            return renderer(fields).strip()
        except KeyError as error:
            reason = f"{error.args[0]!r} is undefined"
        except UndefinedError as error:
            reason = str(error)
        except Exception as error:  # a mistake in the wording, such as a field divided by a number
            raise InputError(
                f"template {self.id!r} cannot be filled in: {error}; correct its wording"
            ) from None
        raise InputError(f"template {self.id!r}: {reason}; give a text for each field that it names")


def load_templates(language: str, path: str | Path | None = None) -> tuple[Template, ...]:
    """Read and check the templates of a language.

    Args:
        language: "en" or "zh".
        path: A file of your own; `TEMPLATES_FILE` by default.

    Raises:
        InputError: The file cannot be read, or one of its templates is wrong: names the template, the file, the line
            and what would be accepted.
    """
    if language not in LANGUAGES:
        raise one_of("language", language, LANGUAGES)
    if path is None:
        return _packaged(language)
    file = str(Path(path).absolute())
    return tuple(replace(template, file=file) for template in _read(Path(path), language))


@cache
def _packaged(language: str) -> tuple[Template, ...]:
    return _read(TEMPLATES_FILE, language)


@cache
def _environment() -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _read(path: Path, language: str) -> tuple[Template, ...]:
    try:
        content = path.read_text("utf-8")
        parsed = tomllib.loads(content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"templates {str(path)!r} cannot be read: {reason}; give a TOML file of templates"
        ) from None
    entries = parsed.get("template")
    if (
        set(parsed) != {"template"}
        or not isinstance(entries, list)
        or not entries
        or not all(isinstance(entry, dict) for entry in entries)
    ):
        line = _first_foreign_line(content)
        raise InputError(
            f"templates {str(path)!r}, line {line}: only [[template]] tables are accepted, and at least one"
        )
    lines = _LineFinder(content, len(entries))
    templates: dict[str, Template] = {}
    for number, entry in enumerate(entries):
        name = f"template {str(entry.get('id', f'number {number + 1}'))!r} in {str(path)!r}"
        try:
            template = _template(entry, language)
        except _TemplateError as error:
            line = lines.find(number, error.key, error.word)
            raise InputError(f"{name}, line {line}: {error.reason}") from None
        if template.id in templates:
            raise InputError(
                f"{name}, line {lines.find(number, 'id')}: a second one of this id; give each an id of its own"
            )
        templates[template.id] = template
    return tuple(templates.values())


def _first_foreign_line(content: str) -> int:
    """Return the line, from 1, of the first content outside [[template]] tables, as far as plain text shows it."""
    within = False
    for number, line in enumerate(content.splitlines(), start=1):
        bare = line.replace(" ", "").replace("\t", "").split("#")[0]
        if bare == "[[template]]":
            within = True
        elif bare and (
            not within or bare.startswith("[") and not bare.startswith(("[template.", "[[template."))
        ):
            return number
    return 1


class _LineFinder:
    """Search for the line of a template's key in its file, for error messages; the TOML reader stores no lines."""

    def __init__(self, content: str, n_templates: int) -> None:
        self.lines = content.splitlines()
        heads = [number for number, line in enumerate(self.lines) if line.replace(" ", "") == "[[template]]"]
        # a header inside a multi-line text, or inline tables: then messages name the first line
        self.heads = heads if len(heads) == n_templates else [0] * n_templates

    def find(self, number: int, key: str, word: str = "") -> int:
        """Return the line, from 1, of the first occurrence of a word in a template's block, else that of its key."""
        start = self.heads[number]
        end = self.heads[number + 1] if number + 1 < len(self.heads) else len(self.lines)
        block = range(start, max(end, start + 1))
        for pattern in (word, key):
            for line in block:
                if pattern and pattern in self.lines[line].split("#")[0]:
                    return line + 1
        return start + 1


class _TemplateError(Exception):
    """A mistake in a template: its key, the reason, and a word by which its line is found."""

    def __init__(self, key: str, reason: object, word: str = "") -> None:
        super().__init__(key, reason, word)
        self.key, self.reason, self.word = key, str(reason), word


def _in_language(entry: Mapping[str, Any], language: str) -> Mapping[str, Any]:
    """Return a template with wordings in several languages in the form of a file of one language."""
    tables = {key: entry[key] for key in _WORDING_KEYS if isinstance(entry.get(key), dict)}
    if not tables:
        return entry
    resolved = dict(entry)
    for key, by_language in tables.items():
        for name in by_language:
            if name not in LANGUAGES:
                raise _TemplateError(key, one_of(f"language of {key}", name, LANGUAGES), name)
        if language not in by_language:
            raise _TemplateError(
                key, f"{key}.{language} is missing; give a wording in each language that is used"
            )
        resolved[key] = by_language[language]
    if isinstance(entry.get("id"), str) and entry["id"]:
        resolved["id"] = f"{language}-{entry['id']}"
    return resolved


def _template(entry: Mapping[str, Any], language: str) -> Template:
    entry = _in_language(entry, language)
    for key in entry:
        if key not in _KEYS:
            raise _TemplateError(key, one_of("key", key, _KEYS))
    for key in _KEYS:
        if key not in entry and key not in _OPTIONAL_KEYS:
            raise _TemplateError("[[template]]", f"{key} is missing; accepted keys: {', '.join(_KEYS)}")
    if not isinstance(entry["id"], str) or not entry["id"]:
        raise _TemplateError("id", f"id is {entry['id']!r}; a text is accepted")
    if entry["kind"] not in TEMPLATE_KINDS:
        raise _TemplateError("kind", one_of("kind", entry["kind"], TEMPLATE_KINDS))
    task = _member(TaskForm, "task", entry)
    preference = _member(Preference, "preference", entry)
    intention = _member(Intention, "intention", entry)
    style = _member(Style, "style", entry, "plain")
    answer = _member(Answer, "answer", entry, "item")
    states = (preference != Preference.P0, intention != Intention.I0)
    if _KIND_OF[states] != entry["kind"]:
        raise _TemplateError(
            "kind",
            f"kind {entry['kind']!r} does not go with {preference} and {intention}; {_KIND_OF[states]!r} does",
        )
    _check_style(style, answer, task, preference, intention)
    if not isinstance(entry.get("held_out", False), bool):
        raise _TemplateError("held_out", f"held_out is {entry['held_out']!r}; true or false is accepted")
    variants = entry["variants"]
    if (
        not isinstance(variants, list)
        or not variants
        or not all(isinstance(text, str) and text.strip() for text in variants)
    ):
        raise _TemplateError(
            "variants", f"variants is {variants!r}; a list of at least one wording is accepted"
        )
    required, allowed = _fields(style, answer, task, preference, intention)
    allowed |= _ALWAYS_ALLOWED[language]
    renderers = tuple(_renderer("variants", text, required, allowed) for text in variants)
    response, response_renderer = _response(entry, answer)
    return Template(
        id=entry["id"],
        language=language,
        kind=entry["kind"],
        task=task,
        preference=preference,
        intention=intention,
        variants=tuple(variants),
        held_out=entry.get("held_out", False),
        style=style,
        answer=answer,
        response=response,
        fields=frozenset(required),
        _renderers=renderers,
        _response_renderer=response_renderer,
    )


def _member(kind: Any, key: str, entry: Mapping[str, Any], default: str | None = None) -> Any:
    try:
        return member(kind, entry.get(key, default))
    except InputError as error:
        raise _TemplateError(key, error) from None


def _check_style(
    style: Style, answer: Answer, task: TaskForm, preference: Preference, intention: Intention
) -> None:
    if style not in _STYLES_OF[answer]:
        accepted = ", ".join(_STYLES_OF[answer])
        raise _TemplateError(
            "style", f"style {style!s} does not go with answer {answer!s}; accepted: {accepted}"
        )
    if answer not in (Answer.ITEM, Answer.REASONED_ITEM) and task != TaskForm.T2:
        raise _TemplateError("task", f"task {task} does not go with answer {answer!s}; T2 is accepted")
    if answer == Answer.REASONED_ITEM and task not in (TaskForm.T2, TaskForm.T3):
        raise _TemplateError("task", f"task {task} does not go with answer {answer!s}; T2 or T3 is accepted")
    if answer in (Answer.PREFERENCE, Answer.REASONED_ITEM, Answer.BOTH) and preference != Preference.P2:
        raise _TemplateError("preference", f"answer {answer!s} is in words; preference P2 is accepted")
    if answer in (Answer.INTENTION, Answer.BOTH) and intention == Intention.I0:
        raise _TemplateError("intention", f"answer {answer!s} needs an intention; I1 or I2 is accepted")
    if style == Style.PARAMETRIC and intention != Intention.I2:
        raise _TemplateError(
            "intention", "a parametric instruction states a condition; intention I2 is accepted"
        )
    if style == Style.RELATED and (preference == Preference.P0 or intention == Intention.I0):
        raise _TemplateError("style", "style related relates a preference to an intention; state both")


def _fields(
    style: Style, answer: Answer, task: TaskForm, preference: Preference, intention: Intention
) -> tuple[set[str], set[str]]:
    """Return the fields that a wording must name, and those that it may name beside the words of the domain."""
    wish = {"intention"} if intention != Intention.I0 else set()
    taste = _PREFERENCE_FIELDS[preference]
    if answer == Answer.PREFERENCE:
        required = wish if style == Style.RELATED else {"history"} | wish
        return required, required | {"history"}
    if answer == Answer.REASONED_ITEM:
        required = {"history"} | wish | _TASK_FIELDS[task]
    elif answer == Answer.INTENTION:
        required = taste | ({"item"} if style == Style.TURNED_ROUND else set())
    elif answer == Answer.BOTH:
        required = {"history", "item"}
    else:
        required = taste | wish | _TASK_FIELDS[task]
        if not taste and not wish:
            required = required | {"context"}
    return required, set(required)


def _response(entry: Mapping[str, Any], answer: Answer) -> tuple[str, Renderer]:
    required = _RESPONSE_FIELDS[answer]
    text = entry.get("response")
    if text is None:
        if len(required) > 1:
            raise _TemplateError(
                "answer",
                f"response is missing; with answer {answer!s} it names "
                + " and ".join(f"{{{{ {name} }}}}" for name in sorted(required)),
            )
        text = f"{{{{ {next(iter(required))} }}}}"
    if not isinstance(text, str) or not text.strip():
        raise _TemplateError("response", f"response is {text!r}; a wording is accepted")
    return text, _renderer("response", text, required, required)


def _renderer(key: str, text: str, required: set[str], allowed: set[str]) -> Renderer:
    """Return the function that fills a wording in, after a check of the fields that it names."""
    from jinja2 import TemplateSyntaxError, meta

    environment = _environment()
    first = text.split("\n")[0].strip()
    try:
        parsed = environment.parse(text)
        names = meta.find_undeclared_variables(parsed)
    except TemplateSyntaxError as error:
        raise _TemplateError(
            key, f"wording {text!r}: {error.message}; Jinja2 text is accepted", first
        ) from None
    for name in sorted(names - allowed):
        raise _TemplateError(key, one_of("field", name, sorted(allowed), most=12), name)
    for name in sorted(required - names):
        raise _TemplateError(
            key,
            f"wording {text!r} never names {{{{ {name} }}}}, which its task, preference, intention or answer needs",
            first,
        )
    return _fast_renderer(parsed) or _jinja_renderer(key, text, sorted(allowed))


def _jinja_renderer(key: str, text: str, names: list[str]) -> Renderer:
    """Return Jinja2's own renderer of a wording; one that can never be filled in is refused after a trial."""
    from jinja2 import UndefinedError

    try:
        renderer = _environment().from_string(text).render
        renderer(dict.fromkeys(names, "text"))
    except UndefinedError:
        pass  # may depend on the texts
    except Exception as error:
        raise _TemplateError(
            key, f"wording {text!r} cannot be filled in: {error}", text.split("\n")[0].strip()
        ) from None
    return renderer


def _fast_renderer(parsed: Any) -> Renderer | None:
    """Return `str.format_map` for a wording of nothing but text and fields, None for any other.

    The result is that of Jinja2, since the pieces come from its parser.
    """
    from jinja2 import nodes

    pieces: list[str] = []
    for output in parsed.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                pieces.append(node.data.replace("{", "{{").replace("}", "}}"))
            elif isinstance(node, nodes.Name):
                pieces.append("{" + node.name + "}")
            else:
                return None
    return "".join(pieces).format_map
