"""A plan of instructions: what is to be made, in blocks that any process can make alone, always with the same result.

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
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.instructions.builder import InstructionBuilder, Notes, Settings
from instructrec.instructions.schema import SOURCES, Answer, Instruction, Style, TaskForm, member
from instructrec.instructions.templates import Template, load_templates
from instructrec.wordings.lexicon import LANGUAGES, lexicon

if TYPE_CHECKING:
    from instructrec.instructions.teacher import AnnotationRequest, Teacher

BLOCK = 1000
"""Instructions in a block."""
_ROUNDS = 5  # a teacher's text may change which event is taken, and so what it is asked next
T = TypeVar("T")


@dataclass(frozen=True)
class InstructionDataset:
    """What instructions are to be made; made by `plan`, which checks the arguments.

    Every block is a function of the plan and the block's number alone: the random numbers of block i are those of
    Python's Mersenne Twister, seeded with a digest of the seed and i. So the result does not depend on how many
    processes share the work, and a shorter plan is the beginning of a longer one.

    Attributes:
        datasets: Data sets, drawn from in proportion to their numbers of events.
        n: How many instructions.
        templates: The templates of each language.
        seed: Seed of every draw.
        settings: What instructions are made from.
        teacher: Writes tastes and wishes; the rules do where it is None.
    """

    datasets: tuple[Dataset, ...]
    n: int
    templates: Mapping[str, tuple[Template, ...]]
    seed: int
    settings: Settings
    teacher: Teacher | None = None
    _made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __iter__(self) -> Iterator[Instruction]:
        for number in range(self.n_blocks):
            yield from self.block(number)

    def __len__(self) -> int:
        return self.n

    def __getstate__(self) -> dict[str, Any]:
        # another process builds its own tables, and reads the templates again: what is compiled cannot travel
        chosen = {
            language: [template.id for template in listed] for language, listed in self.templates.items()
        }
        return {**self.__dict__, "_made": {}, "templates": (chosen, _files_of(self.templates))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        chosen, files = state["templates"]
        templates = {
            language: tuple(
                template for template in load_templates(language, files[language]) if template.id in set(ids)
            )
            for language, ids in chosen.items()
        }
        self.__dict__.update({**state, "templates": templates})

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.n // BLOCK)

    def prepare(self) -> None:
        """Build the tables that blocks are made from now, instead of with the first block.

        Raises:
            InputError: A data set has no user with two different items.
        """
        self._makers()

    def identity(self) -> dict[str, Any]:
        """Return everything that the instructions depend on, as JSON takes it; digests are BLAKE2b in hexadecimal."""
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
                language: _digest([(one.id, one.variants, one.response) for one in listed])
                for language, listed in self.templates.items()
            },
            "lexicon": _digest(lexicon()),
            "block": BLOCK,
        }

    def block(self, number: int) -> list[Instruction]:
        """Make one block.

        Args:
            number: From 0 to `n_blocks` - 1.

        Raises:
            InputError: There is no such block, no event fits a template, or the teacher cannot be asked.
        """
        if not _is_whole(number) or not 0 <= number < self.n_blocks:
            raise InputError(f"block is {number!r}; a whole number from 0 to {self.n_blocks - 1} is accepted")
        size = min(BLOCK, self.n - number * BLOCK)
        if self.teacher is None:
            return self._make(number, size, Notes())
        replies: dict[AnnotationRequest, str | None] = {}
        for turn in range(_ROUNDS):
            notes = Notes(replies, self.teacher.model)
            made = self._make(number, size, notes)
            asked = list(notes.missing)
            if not asked or turn == _ROUNDS - 1:  # in the last turn the rules write what is still missing
                break
            replies.update(zip(asked, self.teacher.annotate(asked), strict=True))
        return made

    def blocks(
        self,
        workers: int = 1,
        finish: Callable[[list[Instruction]], T] | None = None,
    ) -> Generator[T, None, None]:
        """Make the blocks in order, several at a time.

        Args:
            workers: Processes; with 1 the work is done here. A teacher is asked from one process only.
            finish: What to do with a block in the process that made it, such as encoding it; a function at the top of a
                module where workers is more than 1. The block itself by default.

        Yields:
            What `finish` gives for each block. No more than two blocks a worker are ever waiting.

        Raises:
            InputError: The number of workers is not acceptable, a block cannot be made, or a process ended early.
        """
        if not _is_whole(workers) or workers < 1:
            raise InputError(f"workers is {workers!r}; a whole number of at least 1 is accepted")
        do = cast("Callable[[list[Instruction]], T]", finish or _unchanged)
        if workers == 1 or self.teacher is not None or self.n_blocks < 2:
            return (do(self.block(number)) for number in range(self.n_blocks))
        return self._shared(min(workers, self.n_blocks), do)

    def _shared(self, workers: int, finish: Callable[[list[Instruction]], T]) -> Generator[T, None, None]:
        from concurrent.futures import Future, ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        waiting: deque[Future[T]] = deque()
        with TemporaryDirectory(prefix="instructrec-") as folder:
            # in a file: what is larger than a pipe would wait for ever for a process that dies while it starts
            place = Path(folder, "plan")
            place.write_bytes(pickle.dumps(self))
            # a fresh interpreter each: forking a process that runs TensorFlow's threads may hang
            pool = ProcessPoolExecutor(
                workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(place, finish)
            )
            try:
                for number in range(self.n_blocks):
                    waiting.append(pool.submit(_work, number))
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

    def _make(self, number: int, size: int, notes: Notes) -> list[Instruction]:
        draw = random.Random(_seed_of(self.seed, number)).random
        makers, bounds, fitting = self._makers()
        made: list[Instruction] = []
        for _ in range(size):
            place = bisect_right(bounds, draw() * bounds[-1]) if makers[1:] else 0
            templates = fitting[place][int(draw() * len(fitting[place]))]
            made.append(makers[place].make(templates[int(draw() * len(templates))], draw, notes))
        return made

    def _makers(self) -> tuple[list[InstructionBuilder], list[int], list[list[list[Template]]]]:
        """Return a maker for each data set, the running total of their events, and each one's templates by language."""
        if not self._made:
            languages = tuple(self.templates)
            makers = [InstructionBuilder(dataset, languages, self.settings) for dataset in self.datasets]
            self._made["makers"] = makers
            self._made["bounds"] = list(accumulate(dataset.n_interactions for dataset in self.datasets))
            self._made["fitting"] = [
                [maker.fitting(listed) for listed in self.templates.values()] for maker in makers
            ]
        return self._made["makers"], self._made["bounds"], self._made["fitting"]


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
    """Check what instructions are to be made, and return the plan of them; nothing is made yet.

    Each instruction picks a data set, a language, a template, a user and a cut in the user's time-ordered history; the
    target is the item at the cut, and nothing after it is used. The target's title never stands in the text other than
    as one of the candidates, or as the item shown where words are asked for.

    Args:
        datasets: One, or several of different names, with titles and categories, and interactions; give the training
            parts only.
        n: How many, at least 0.
        languages: Of "en" and "zh", chosen from evenly.
        seed: Seed of every draw.
        source: Where intentions come from: "oracle", the target, as in the paper (more than a real user's words could
            tell), or "history", what was known before. With "history" no template asks for the intention: the history
            would tell the taste and the wish alike.
        preference_source: Where preferences come from: "history", or "oracle", which picks the titles that share a
            category with the target (P1) and counts the target into the taste (P2), to measure what such a leak gives.
        tasks: Forms of task to use; all by default.
        styles: Styles to use; all by default.
        held_out: False for the wordings for training, True for those kept for evaluation, None for both.
        history_length: The most titles shown of a history. A taste without titles sums up at most 30 items.
        context_share: Share of the texts that state circumstances; the time is that of the log, all else is drawn.
        templates: A file of templates of your own for any of the languages; the package's by default.
        teacher: A model that writes tastes (P2) and vague wishes (I1); the rules by default.

    Raises:
        InputError: An argument is not acceptable, or no template is left.
    """
    listed = _listed(datasets)
    if not _is_whole(n) or n < 0:
        raise InputError(f"n is {n!r}; a whole number of at least 0 is accepted")
    if isinstance(languages, str) or not isinstance(languages, Sequence) or not languages:
        raise InputError(
            f"languages is {languages!r}; a list with one or more of {', '.join(LANGUAGES)} is accepted"
        )
    for language in languages:
        if language not in LANGUAGES:
            raise one_of("language", language, LANGUAGES)
    for name, value in (("source", source), ("preference_source", preference_source)):
        if value not in SOURCES:
            raise one_of(name, value, SOURCES)
    if not _is_whole(seed):
        raise InputError(f"seed is {seed!r}; a whole number is accepted")
    if not _is_whole(history_length) or history_length < 1:
        raise InputError(f"history_length is {history_length!r}; a whole number of at least 1 is accepted")
    if not isinstance(context_share, int | float) or not 0 <= context_share <= 1:
        raise InputError(f"context_share is {context_share!r}; a share in [0, 1] is accepted")
    if held_out is not None and not isinstance(held_out, bool):
        raise InputError(f"held_out is {held_out!r}; True, False or None is accepted")
    wanted = _members("tasks", TaskForm, tasks)
    put = _members("styles", Style, styles)
    files = {} if templates is None else templates
    if not isinstance(files, Mapping):
        raise InputError(f"templates is {files!r}; a mapping such as {{'en': 'mine.toml'}} is accepted")
    for language in files:
        if language not in languages:
            raise one_of("language of templates", language, languages)
    chosen = {
        language: tuple(
            template
            for template in load_templates(language, files.get(language))
            if template.task in wanted
            and template.style in put
            and (held_out is None or template.held_out == held_out)
            and (source == "oracle" or template.answer not in (Answer.INTENTION, Answer.BOTH))
        )
        for language in dict.fromkeys(languages)
    }
    for language, left in chosen.items():
        if not left:
            raise InputError(
                f"no template of language {language} fits tasks={tasks!r}, styles={styles!r}, held_out={held_out!r}"
            )
    settings = Settings(
        source,
        preference_source,
        int(history_length),
        context_share,
        tuple(sorted(task.value for task in wanted)),
        tuple(sorted(style.value for style in put)),
        held_out,
    )
    return InstructionDataset(listed, int(n), chosen, int(seed), settings, teacher)


def _listed(datasets: object) -> tuple[Dataset, ...]:
    listed = (datasets,) if isinstance(datasets, Dataset) else datasets
    if not isinstance(listed, Sequence) or not all(isinstance(one, Dataset) for one in listed):
        raise InputError(f"datasets is {listed!r:.80}; a data set or a list of data sets is accepted")
    if not listed:
        raise InputError("datasets is empty; one data set or several are accepted")
    names = [one.name for one in listed]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"datasets holds {name!r} twice, and an instruction names its data set; "
                "data sets of different names are accepted"
            )
    return tuple(listed)


def _members(name: str, kind: type[StrEnum], chosen: object) -> set[Any]:
    if chosen is None:
        return set(kind)
    if isinstance(chosen, str) or not isinstance(chosen, Iterable):
        raise InputError(f"{name} is {chosen!r}; a list of {', '.join(kind)} is accepted")
    return {member(kind, one) for one in chosen}


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _unchanged(block: list[Instruction]) -> list[Instruction]:
    return block


def _seed_of(seed: int, block: int) -> int:
    return int.from_bytes(blake2b(f"{seed} {block}".encode(), digest_size=16).digest(), "big")


def _files_of(templates: Mapping[str, Sequence[Template]]) -> dict[str, str | None]:
    return {language: listed[0].file for language, listed in templates.items()}


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _digest_of_data(dataset: Dataset) -> str:
    digest = blake2b(dataset.category_field.encode(), digest_size=16)
    for table in (dataset.items, dataset.interactions[["user_id", "item_id", "timestamp"]]):
        digest.update(table.to_csv(index=False, lineterminator="\n").encode())
    return digest.hexdigest()


_worker: dict[str, Any] = {}


def _start_worker(place: Path, finish: Callable[[list[Instruction]], Any]) -> None:
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is the parent's to answer
    threading.Thread(target=_end_with_the_parent, args=(place.parent,), daemon=True).start()
    _worker.update(plan=pickle.loads(place.read_bytes()), finish=finish)


def _end_with_the_parent(folder: Path) -> None:
    """Wait for the parent's end, even a kill, clear its folder away and end this process too."""
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _work(number: int) -> Any:
    return _worker["finish"](_worker["plan"].block(number))
