"""The chat template of a pretrained model: from messages to the text that the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from instructrec.errors import InputError
from instructrec.models.lm.pretrained import PretrainedModel


def render_chat(
    pretrained: PretrainedModel, message: str, system: str | None, examples: Sequence[tuple[str, str]]
) -> str:
    """Return the prompt of a user's message, up to the point where the model starts to answer.

    A model without a template gets the texts, each with a line break.

    Args:
        pretrained: The model with its template and special tokens.
        message: The user's message.
        system: The system message; None takes the template's default.
        examples: Earlier messages and their answers, such as the examples of a few-shot prompt.

    Raises:
        InputError: A text contains a special token, which could pose as another speaker, or the template cannot be
            filled.
    """
    texts = (message, system or "", *(text for pair in examples for text in pair))
    for token in pretrained.special_tokens:
        if any(token in text for text in texts):
            raise InputError(f"message holds the special token {token!r}; give plain text without it")
    if pretrained.template is None:
        turns = "".join(f"{question}\n{answer}\n" for question, answer in examples)
        return (f"{system}\n" if system else "") + f"{turns}{message}\n"
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in examples:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    messages.append({"role": "user", "content": message})
    try:
        return _compile(pretrained.template).render(messages=messages, add_generation_prompt=True)
    except TemplateError as error:
        raise InputError(f"the chat template of {pretrained.name} cannot be filled ({error})") from error


@cache
def _compile(text: str) -> Template:
    """Compile a chat template in a sandbox: templates come with the files and are not trusted."""

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(text)
