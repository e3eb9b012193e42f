"""Instruction datasets: instructions in blocks that any process can make alone, always with the same result.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar, cast

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.builder import Annotations, InstructionBuilder, Settings
from instructrec.instructions.schema import SOURCES, Answer, Instruction, Style, TaskForm, member
from instructrec.instructions.templates import Template, load_templates
from instructrec.validation import ClosedShare, NonNegativeInt, PositiveInt, WholeNumber, check_value
from instructrec.wordings.lexicon import LANGUAGES, lexicon

if TYPE_CHECKING:
    from instructrec.instructions.teacher import AnnotationRequest, Teacher

BLOCK = 1000
"""Number of instructions in a block."""
_TEACHER_ROUNDS = 5
"""Maximum number of times that a block is built with a teacher: new texts may change the events drawn, which needs
further texts."""
T = TypeVar("T")


@dataclass(frozen=True)
class _Builders:
    """Tables that blocks are built from.

    Attributes:
        builders: A builder for each data set.
        bounds: Running total of the data sets' events, by which data sets are drawn.
        templates: The templates that each data set can fill, by language.
    """

    builders: list[InstructionBuilder]
    bounds: list[int]
    templates: list[list[list[Template]]]


@dataclass(frozen=True)
class InstructionDataset:
    """Instructions that are built when they are read; `build_instructions` returns one and checks the arguments.

    Every block is a function of the attributes and the block's number alone: the random numbers of block i are those of
    Python's Mersenne Twister, seeded with a digest of the seed and i. So the result does not depend on how many
    processes share the work, and a smaller dataset is the beginning of a larger one.

    Attributes:
        datasets: Data sets, drawn from in proportion to their numbers of events.
        n: Number of instructions.
        templates: The templates of each language.
        seed: Seed of every draw.
        settings: How instructions are built.
        teacher: Writes tastes and wishes; the rules do if it is None.
    """

    datasets: tuple[Dataset, ...]
    n: int
    templates: Mapping[str, tuple[Template, ...]]
    seed: int
    settings: Settings
    teacher: Teacher | None = None
    _cache: dict[str, _Builders] = field(default_factory=dict, repr=False, compare=False)

    def __iter__(self) -> Iterator[Instruction]:
        for number in range(self.n_blocks):
            yield from self.block(number)

    def __len__(self) -> int:
        return self.n

    def __getstate__(self) -> dict[str, Any]:
        # another process builds its own tables and reads the templates again: compiled wordings cannot be pickled
        ids = {
            language: [template.id for template in templates]
            for language, templates in self.templates.items()
        }
        files = {language: templates[0].file for language, templates in self.templates.items()}
        return {**self.__dict__, "_cache": {}, "templates": (ids, files)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ids_by_language, files = state["templates"]
        templates = {
            language: tuple(
                template for template in load_templates(language, files[language]) if template.id in set(ids)
            )
            for language, ids in ids_by_language.items()
        }
        self.__dict__.update({**state, "templates": templates})

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.n // BLOCK)

    def prepare(self) -> None:
        """Build the tables for the blocks now instead of with the first block.

        Raises:
            InputError: A data set has no user with two different items.
        """
        self._builders()

    def identity(self) -> dict[str, Any]:
        """Return everything that the instructions depend on, in types of JSON; digests are BLAKE2b, hexadecimal."""
        return {
            "n": self.n,
            "seed": self.seed,
            "languages": list(self.templates),
            "source": self.settings.source,
            "preference_source": self.settings.preference_source,
            "history_length": self.settings.history_length,
            "context_share": self.settings.context_share,
            "tasks": list(self.settings.tasks),
            "styles": list(self.settings.styles),
            "held_out": self.settings.held_out,
            "annotator": "rules" if self.teacher is None else self.teacher.identity(),
            "datasets": {dataset.name: _digest_of_data(dataset) for dataset in self.datasets},
            "templates": {
                language: _digest(
                    [(template.id, template.variants, template.response) for template in templates]
                )
                for language, templates in self.templates.items()
            },
            "lexicon": _digest(lexicon()),
            "block": BLOCK,
        }

    def block(self, number: int) -> list[Instruction]:
        """Return the instructions of one block.

        Args:
            number: From 0 to `n_blocks` - 1.

        Raises:
            InputError: There is no such block, no event fits a template, or the teacher cannot be asked.
        """
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < self.n_blocks:
            raise InputError(f"block is {number!r}; a whole number from 0 to {self.n_blocks - 1} is accepted")
        if self.teacher is None:
            return self._build(number, Annotations())
        replies: dict[AnnotationRequest, str | None] = {}
        for attempt in range(_TEACHER_ROUNDS):
            annotations = Annotations(replies, self.teacher.model)
            block = self._build(number, annotations)
            requests = list(annotations.missing)
            if (
                not requests or attempt == _TEACHER_ROUNDS - 1
            ):  # in the last round the rules write the missing texts
                break
            replies.update(zip(requests, self.teacher.annotate(requests), strict=True))
        return block

    def blocks(
        self,
        workers: int = 1,
        finish: Callable[[list[Instruction]], T] | None = None,
    ) -> Generator[T, None, None]:
        """Make the blocks in order, several at a time.

        Args:
            workers: Number of processes; 1 makes the blocks in this one, and so does a teacher.
            finish: Function that is applied to each block in the process that made it, such as an encoder; it must be
                importable if workers is more than 1. The block itself is yielded by default.

        Yields:
            The result of `finish` for each block. At most two blocks per worker are waiting at any time.

        Raises:
            InputError: The number of workers is not acceptable, a block cannot be made, or a process ended early.
        """
        check_value("workers", workers, PositiveInt)
        function = cast("Callable[[list[Instruction]], T]", finish or _unchanged)
        if workers == 1 or self.teacher is not None or self.n_blocks < 2:
            return (function(self.block(number)) for number in range(self.n_blocks))
        return self._blocks_of_workers(min(workers, self.n_blocks), function)

    def _blocks_of_workers(
        self, workers: int, finish: Callable[[list[Instruction]], T]
    ) -> Generator[T, None, None]:
        from concurrent.futures import Future, ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context, parent_process

        if parent_process() is not None:
            raise InputError(
                "a worker cannot start workers: give workers=1, or put a script's code under "
                '`if __name__ == "__main__":`'
            )
        waiting: deque[Future[T]] = deque()
        with TemporaryDirectory(prefix="instructrec-") as folder:
            # as a file, since a full pipe would block forever if the process dies while starting
            path = Path(folder, "instructions")
            path.write_bytes(pickle.dumps(self))
            # spawn new interpreters: forking a process with TensorFlow's threads may hang
            pool = ProcessPoolExecutor(
                workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(path, finish)
            )
            try:
                for number in range(self.n_blocks):
                    waiting.append(pool.submit(_make_block, number))
                    if len(waiting) >= 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BrokenProcessPool:
                raise InputError(
                    f"one of {workers} workers ended early: it was killed, or memory ran out, or a script of one's own "
                    'lacks `if __name__ == "__main__":`; give fewer workers, such as 1'
                ) from None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _build(self, number: int, annotations: Annotations) -> list[Instruction]:
        draw = random.Random(_seed_of_block(self.seed, number)).random
        tables = self._builders()
        block: list[Instruction] = []
        for _ in range(min(BLOCK, self.n - number * BLOCK)):
            dataset = bisect_right(tables.bounds, draw() * tables.bounds[-1]) if self.datasets[1:] else 0
            languages = tables.templates[dataset]
            templates = languages[int(draw() * len(languages))]
            template = templates[int(draw() * len(templates))]
            block.append(tables.builders[dataset].build(template, draw, annotations))
        return block

    def _builders(self) -> _Builders:
        if not self._cache:
            languages = tuple(self.templates)
            builders = [InstructionBuilder(dataset, languages, self.settings) for dataset in self.datasets]
            self._cache["builders"] = _Builders(
                builders,
                list(accumulate(dataset.n_interactions for dataset in self.datasets)),
                [
                    [builder.fitting(templates) for templates in self.templates.values()]
                    for builder in builders
                ],
            )
        return self._cache["builders"]


def build_instructions(
    datasets: Dataset | Sequence[Dataset],
    n: int,
    languages: Sequence[str] = ("en", "zh"),
    seed: int = 0,
    source: str = "oracle",
    *,
    preference_source: str = "history",
    tasks: Sequence[TaskForm | str] | None = None,
    styles: Sequence[Style | str] | None = None,
    held_out: bool | None = False,
    history_length: int = 10,
    context_share: float = 0.25,
    templates: Mapping[str, str | Path] | None = None,
    teacher: Teacher | None = None,
) -> InstructionDataset:
    """Return a dataset of instructions; each is built when it is read, but the arguments are checked now.

    Each instruction draws a data set, a language, a template, a user and a cut in the user's time-ordered history; the
    target is the item at the cut, and nothing after it is used. The text contains the target's title only as one of
    the candidates, or as the item shown if the answer is in words.

    Args:
        datasets: One data set, or several with different names, with titles, categories and interactions; give the
            training parts only.
        n: Number of instructions, at least 0.
        languages: One or both of "en" and "zh", drawn with equal probability.
        seed: Seed of every draw.
        source: Where intentions come from: "oracle", the target, as in the paper (it tells more than a real user's
            words could), or "history", the items before the cut. With "history" no template asks for the intention: the
            history would reveal taste and wish alike.
        preference_source: Where preferences come from: "history", or "oracle", which picks the titles that share a
            category with the target (P1) and counts the target into the taste (P2), to measure the effect of such a
            leak.
        tasks: Task forms to use; all by default.
        styles: Styles to use; all by default.
        held_out: False for the wordings for training, True for those held out for evaluation, None for both.
        history_length: Maximum number of titles shown of a history. A taste without titles summarises at most 30 items.
        context_share: Share of the texts that state circumstances, in [0, 1]; the time is that of the log, all else is
            drawn at random.
        templates: Files of your own templates by language; the package's templates by default.
        teacher: A model that writes tastes (P2) and vague wishes (I1); the rules by default.

    Raises:
        InputError: An argument is invalid, or no template can be filled.
    """
    data = _checked_datasets(datasets)
    n = check_value("n", n, NonNegativeInt)
    _check_languages(languages)
    for name, value in (("source", source), ("preference_source", preference_source)):
        if value not in SOURCES:
            raise one_of(name, value, SOURCES)
    if held_out is not None:
        check_value("held_out", held_out, bool)
    task_forms, style_members = _members("tasks", TaskForm, tasks), _members("styles", Style, styles)
    settings = Settings(
        source,
        preference_source,
        check_value("history_length", history_length, PositiveInt),
        check_value("context_share", context_share, ClosedShare),
        tuple(sorted(task.value for task in task_forms)),
        tuple(sorted(style.value for style in style_members)),
        held_out,
    )
    files = {} if templates is None else templates
    if not isinstance(files, Mapping):
        raise InputError(f"templates is {files!r}; a mapping such as {{'en': 'mine.toml'}} is accepted")
    for language in files:
        if language not in languages:
            raise one_of("language of templates", language, languages)
    templates_by_language = {
        language: tuple(
            template
            for template in load_templates(language, files.get(language))
            if template.task in task_forms
            and template.style in style_members
            and (held_out is None or template.held_out == held_out)
            and (source == "oracle" or template.answer not in (Answer.INTENTION, Answer.BOTH))
        )
        for language in dict.fromkeys(languages)
    }
    for language, remaining in templates_by_language.items():
        if not remaining:
            raise InputError(
                f"no template of language {language} fits tasks={tasks!r}, styles={styles!r}, held_out={held_out!r}"
            )
    return InstructionDataset(
        data, n, templates_by_language, check_value("seed", seed, WholeNumber), settings, teacher
    )


def _checked_datasets(datasets: object) -> tuple[Dataset, ...]:
    data = (datasets,) if isinstance(datasets, Dataset) else datasets
    if not isinstance(data, Sequence) or not all(isinstance(dataset, Dataset) for dataset in data):
        raise InputError(f"datasets is {data!r:.80}; a data set or a list of data sets is accepted")
    if not data:
        raise InputError("datasets is empty; one data set or several are accepted")
    names = [dataset.name for dataset in data]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"datasets holds {name!r} twice, and an instruction names its data set; "
                "data sets of different names are accepted"
            )
    return tuple(data)


def _check_languages(languages: object) -> None:
    if isinstance(languages, str) or not isinstance(languages, Sequence) or not languages:
        raise InputError(
            f"languages is {languages!r}; a list with one or more of {', '.join(LANGUAGES)} is accepted"
        )
    for language in languages:
        if language not in LANGUAGES:
            raise one_of("language", language, LANGUAGES)


def _members(name: str, kind: type[StrEnum], values: object) -> set[Any]:
    """Return members of an enumeration, all by default."""
    if values is None:
        return set(kind)
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} is {values!r}; a list of {', '.join(kind)} is accepted")
    return {member(kind, value) for value in values}


def _unchanged(block: list[Instruction]) -> list[Instruction]:
    return block


def _seed_of_block(seed: int, block: int) -> int:
    return int.from_bytes(blake2b(f"{seed} {block}".encode(), digest_size=16).digest(), "big")


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _digest_of_data(dataset: Dataset) -> str:
    digest = blake2b(dataset.category_field.encode(), digest_size=16)
    for table in (dataset.items, dataset.interactions[["user_id", "item_id", "timestamp"]]):
        digest.update(table.to_csv(index=False, lineterminator="\n").encode())
    return digest.hexdigest()


# -- worker processes ----------------------------------------------------------------------------------------------

_worker: dict[str, Any] = {}


def _start_worker(path: Path, finish: Callable[[list[Instruction]], Any]) -> None:
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process answers an interruption
    threading.Thread(target=_end_with_the_parent, args=(path.parent,), daemon=True).start()
    _worker.update(instructions=pickle.loads(path.read_bytes()), finish=finish)


def _end_with_the_parent(folder: Path) -> None:
    """Wait for the parent's end, even by a kill, then remove its folder and end this process too."""
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _make_block(number: int) -> Any:
    return _worker["finish"](_worker["instructions"].block(number))
