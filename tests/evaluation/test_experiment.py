"""A comparison that is cut off goes on where it was; a results file says the same as the evaluation it came from."""

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from instructrec import __version__, models
from instructrec.datasets.readers import from_csv
from instructrec.errors import InputError
from instructrec.evaluation import evaluate, evaluate_many, hard_negatives, results
from instructrec.evaluation.experiment import ModelSpec, run_experiment
from instructrec.evaluation.results import Results
from instructrec.models.base import Recommender
from instructrec.models.baselines.most_popular import MostPopular
from instructrec.split import SPLITS
from instructrec.validation import ModelConfig
from tools.build_book import ROOT

MODELS = (
    ModelSpec("guess", "random"),
    ModelSpec("popular", "most-popular"),
    ModelSpec("neighbours", "item-knn", {"k": 5}),
)
CANDIDATES = ("whole catalogue", "3 random negatives", "3 hard negatives by neighbours")
PROTOCOLS = ("leave-last-out", "global-time")


class BrokenConfig(ModelConfig):
    fault: str = "none"


class Broken(MostPopular):
    """A model that goes wrong in the way that it is told to."""

    name = "broken"
    config_class = BrokenConfig

    def __init__(self, config=None, **settings) -> None:
        Recommender.__init__(self, config, **settings)

    def _fit(self, dataset):
        super()._fit(dataset)
        if self.settings["fault"] == "fit":
            raise ZeroDivisionError("nothing to divide by")

    def _score(self, histories, instructions):
        scores = np.array(super()._score(histories, instructions), dtype=np.float32)
        match self.settings["fault"]:
            case "nan":
                scores[len(scores) // 2, 7] = np.nan
            case "shape":
                return scores[:, :-1]
            case "infinity":
                scores[0, 3] = np.inf
            case "text":
                return np.full(scores.shape, "high")
        return scores


@pytest.fixture(scope="module")
def csv(events_csv):
    return events_csv


@pytest.fixture(scope="module")
def dataset(csv):
    return from_csv(csv)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """A finished file and its results."""
    path = tmp_path_factory.mktemp("whole") / "results.json"
    return path, experiment(dataset, path)


def experiment(dataset, path=None, models=MODELS, **changes):
    options = {"protocols": PROTOCOLS, "candidates": CANDIDATES, "seeds": (0, 1), "progress": False}
    return run_experiment(models, dataset, path, **(options | changes))


def without_seconds(text):
    return re.sub(r'"seconds": \{[^}]*\}', '"seconds": {}', text)


def ranks(loaded):
    return {(one.key, name): rank.to_lists() for one in loaded.runs for name, rank in one.ranks.items()}


# -- what a file says ----------------------------------------------------------------------------------------------


def test_a_file_gives_the_figures_of_the_evaluation_that_it_came_from(dataset, finished):
    loaded = Results.load(finished[0])
    for protocol in PROTOCOLS:
        split = SPLITS[protocol](dataset)
        model = models.create("item-knn", k=5).fit(split.train)
        for n, name in ((None, "whole catalogue"), (3, "3 random negatives")):
            own = evaluate(model, split, ks=(1, 5), metrics=("HR", "NDCG", "MRR", "recall"), n_negatives=n)
            again = loaded.evaluation(
                "neighbours", protocol, name, ks=(1, 5), metrics=("HR", "NDCG", "MRR", "recall")
            )
            assert again.metrics == own.metrics
            for metric in own.metrics:
                assert again.per_user[metric].tolist() == own.per_user[metric].tolist(), (
                    protocol,
                    name,
                    metric,
                )
            assert again.protocol == own.protocol


def test_a_model_with_chance_runs_once_a_seed_and_any_other_once(finished):
    loaded = finished[1]
    assert loaded.seeds("guess", "leave-last-out") == [0, 1]
    assert loaded.seeds("popular", "leave-last-out") == [None]
    first, second = (loaded.evaluation("guess", "leave-last-out", seed=seed).per_user for seed in (0, 1))
    assert not first.equals(second)
    assert loaded.evaluation("popular", "leave-last-out", seed=1).per_user.equals(
        loaded.evaluation("popular", "leave-last-out").per_user
    )
    assert loaded.run("guess", "leave-last-out", 0).lists is not None
    assert loaded.run("guess", "leave-last-out", 1).lists is None
    assert loaded.run("guess", "leave-last-out", 1).list_metrics["coverage"] > 0


def test_what_was_written_reads_back_the_same(finished, tmp_path):
    path, loaded = finished
    again = Results.load(path)
    assert again.to_text() == path.read_text("utf-8")
    assert ranks(again) == ranks(loaded)
    assert again.save(tmp_path / "new" / "copy.json").read_bytes() == path.read_bytes()
    assert loaded.protocols == list(PROTOCOLS)
    assert loaded.labels() == loaded.labels("global-time") == [entry.label for entry in MODELS]
    assert loaded.candidates("global-time") == list(CANDIDATES)


def test_a_file_names_nobody_and_has_a_line_for_each_array(dataset, finished):
    document = json.loads(finished[0].read_text("utf-8"))
    assert document["format"] == 1
    assert set(document["machine"]) == {"cores", "python"}
    of_a_run = {
        "label",
        "model",
        "settings",
        "seed",
        "protocol",
        "part",
        "seconds",
        "parameters",
        "candidates",
        "version",
    }
    assert of_a_run | {"beyond", "lists"} == set(document["runs"][0])
    assert set(document["runs"][0]["seconds"]) == {"fit", "score", "measure"}
    columns = np.array(document["runs"][0]["lists"])
    assert columns.shape == (40, 10)
    assert columns.max() < dataset.n_items < dataset.items["item_id"].min()
    lines = finished[0].read_text("utf-8").splitlines()
    assert sum(
        line.lstrip().startswith('"whole catalogue": {"ranks"') or '"ranks": [[' in line for line in lines
    )
    assert not [line for line in lines if line.strip(" ,]").isdigit()]


def test_hard_negatives_are_the_best_unseen_items_of_their_model(dataset, finished):
    loaded = finished[1]
    columns = loaded.negatives[("leave-last-out", "test", CANDIDATES[2])]
    split = SPLITS["leave-last-out"](dataset)
    requests = split.requests("test")
    scores = models.create("item-knn", k=5).fit(split.train).score(requests.histories)
    for row, chosen in enumerate(columns):
        excluded = split.train.item_columns([*requests.histories[row], *requests.targets[row]])
        scores[row, excluded] = -np.inf
        assert set(chosen) == set(np.argsort(-scores[row], kind="stable")[:3])
    # what is written down is what the negatives of a fitted model give
    by = models.create("item-knn", k=5).fit(split.train)
    for name, settings in {"most-popular": {}, "item-knn": {"k": 5}}.items():
        model = models.create(name, **settings).fit(split.train)
        (own,) = evaluate_many(model, split, candidates=[hard_negatives(3, by)], ks=(1, 3)).values()
        label = "popular" if name == "most-popular" else "neighbours"
        again = loaded.evaluation(label, "leave-last-out", CANDIDATES[2], ks=(1, 3))
        assert again.per_user.drop(columns="user_id").equals(own.per_user.drop(columns="user_id"))
        easy = loaded.evaluation(label, "leave-last-out", CANDIDATES[1], ks=(1, 3))
        assert again.per_user["HR@1"].mean() < easy.per_user["HR@1"].mean()


# -- interruptions -------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
from instructrec.datasets.readers import from_csv
from instructrec.evaluation.experiment import ModelSpec, run_experiment
from instructrec.models.baselines.random import Random
from tests.evaluation.test_experiment import CANDIDATES, PROTOCOLS, MODELS
class Slow(Random):
    def _fit(self, dataset):
        print("fitting", flush=True)
        time.sleep(float(sys.argv[3]))
run_experiment([MODELS[1], MODELS[2], ModelSpec("guess", Slow)], from_csv(sys.argv[1]), sys.argv[2],
    protocols=PROTOCOLS, candidates=CANDIDATES, seeds=(0, 1), progress=False)
"""


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed_it_is_the_same_file(csv, dataset, tmp_path):
    entries = (MODELS[1], MODELS[2], ModelSpec("guess", "random"))
    straight = tmp_path / "straight.json"
    experiment(dataset, straight, entries)
    cut = tmp_path / "cut.json"
    words = [sys.executable, "-c", SCRIPT, str(csv), str(cut)]
    process = subprocess.Popen([*words, "600"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "fitting\n"  # two models are done; the third is at work
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=600)
    stored = Results.load(cut)
    assert [one.label for one in stored.runs] == ["popular", "neighbours"]
    seconds = [one.seconds for one in stored.runs]
    done = experiment(dataset, cut, entries)
    assert [one.seconds for one in done.runs[:2]] == seconds  # not run again
    assert without_seconds(cut.read_text("utf-8")) == without_seconds(straight.read_text("utf-8"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_finished_file_is_left_as_it_is(dataset, finished):
    before = finished[0].read_bytes(), finished[0].stat().st_mtime_ns
    experiment(dataset, finished[0])
    assert (finished[0].read_bytes(), finished[0].stat().st_mtime_ns) == before


def test_a_model_added_to_a_file_takes_its_place_in_the_order(dataset, tmp_path):
    path = tmp_path / "results.json"
    experiment(dataset, path, MODELS[::2], protocols=PROTOCOLS[:1])
    experiment(dataset, path, MODELS, protocols=PROTOCOLS[:1])
    assert Results.load(path).labels() == ["guess", "popular", "neighbours"]


@pytest.mark.parametrize(
    ("fault", "message_part"),
    [
        ("nan", r"nan"),
        ("shape", r"\(40, 24\).*\(40, 25\)"),
        ("infinity", r"inf"),
        ("fit", r"failed to fit: ZeroDivisionError: nothing to divide by"),
        ("text", r"failed to score"),
    ],
)
def test_a_faulty_model_is_named_and_what_was_finished_stays(dataset, tmp_path, fault, message_part):
    path = tmp_path / "results.json"
    entries = [MODELS[0], MODELS[1], ModelSpec("faulty one", Broken, {"fault": fault}), MODELS[2]]
    with pytest.raises(InputError) as caught:
        experiment(dataset, path, entries, protocols=PROTOCOLS[:1], candidates=CANDIDATES[:2])
    message = str(caught.value)
    assert message.startswith("faulty one (leave-last-out)")
    assert re.search(message_part, message, re.IGNORECASE), message
    assert "3 of 5 runs" in message
    assert "\n" not in message
    stored = Results.load(path)
    assert stored.labels() == ["guess", "popular"]
    repaired = [*entries[:2], ModelSpec("faulty one", Broken), MODELS[2]]
    again = experiment(dataset, path, repaired, protocols=PROTOCOLS[:1], candidates=CANDIDATES[:2])
    assert again.labels() == [entry.label for entry in entries]
    assert {key: value for key, value in ranks(again).items() if key in ranks(stored)} == ranks(stored)


def test_an_interruption_by_the_user_passes(dataset, tmp_path):
    class Stopped(MostPopular):
        def _fit(self, dataset):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment(
            dataset,
            tmp_path / "results.json",
            [MODELS[1], ModelSpec("x", Stopped)],
            candidates=CANDIDATES[:1],
        )
    assert Results.load(tmp_path / "results.json").labels() == ["popular"]


# -- what a file says of its making --------------------------------------------------------------------------------


def cut_short(dataset, path, models=MODELS, **changes):
    """Write hard negatives and leave before the model that chose them is evaluated."""
    broken = ModelSpec("broken", Broken, {"fault": "fit"})
    with pytest.raises(InputError, match="broken .leave-last-out. failed to fit"):
        experiment(dataset, path, [broken, *models], protocols=PROTOCOLS[:1], **changes)
    assert Results.load(path).runs == []


@pytest.mark.parametrize(
    ("spec", "message_part"),
    [
        (
            ModelSpec("neighbours", "item-knn", {"k": 6}),
            r'item-knn with .*"k": 5.* chose, and item-knn with .*"k": 6',
        ),
        (
            ModelSpec("neighbours", "most-popular"),
            r"item-knn with .* chose, and most-popular with \{\} is asked for",
        ),
    ],
)
def test_hard_negatives_of_another_chooser_are_refused(dataset, tmp_path, spec, message_part):
    path = tmp_path / "results.json"
    cut_short(dataset, path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message_part) as caught:
        experiment(dataset, path, [MODELS[1], spec], protocols=PROTOCOLS[:1])
    assert f"{str(path)!r} holds {CANDIDATES[2]} on leave-last-out" in str(caught.value)
    assert "ask for the same, give it another label, or another file" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    loaded = experiment(dataset, path, MODELS, protocols=PROTOCOLS[:1])
    assert loaded.labels() == [entry.label for entry in MODELS]
    key = ("leave-last-out", "test", CANDIDATES[2])
    settings = loaded.run("neighbours", "leave-last-out").settings
    assert loaded.choosers == {key: {"model": "item-knn", "settings": settings, "seed": None}}
    assert Results.load(path).choosers == loaded.choosers


def test_hard_negatives_of_another_seed_are_refused(dataset, tmp_path):
    path = tmp_path / "results.json"
    by_chance = {"candidates": ("3 hard negatives by guess",)}
    cut_short(dataset, path, **by_chance)
    with pytest.raises(
        InputError, match="random with {} and seed 0 chose, and random with {} and seed 1 is asked for"
    ):
        experiment(dataset, path, protocols=PROTOCOLS[:1], seeds=(1, 0), **by_chance)
    experiment(dataset, path, protocols=PROTOCOLS[:1], seeds=(0, 1, 2), **by_chance)


def test_a_file_from_before_choosers_and_versions_were_kept_is_gone_on_with(dataset, tmp_path, recwarn):
    path = tmp_path / "results.json"
    experiment(dataset, path, MODELS[1:], protocols=PROTOCOLS[:1])
    document = json.loads(path.read_text("utf-8"))
    del document["choosers"]
    for one in document["runs"]:
        del one["version"]
    path.write_text(json.dumps(document), "utf-8")
    old = Results.load(path)
    assert old.choosers == {}
    assert {one.version for one in old.runs} == {None}
    assert '"choosers"' not in old.to_text()
    assert '"version"' not in old.to_text()
    loaded = experiment(dataset, path, protocols=PROTOCOLS[:1])
    assert {one.label: one.version for one in loaded.runs} == {
        "guess": __version__,
        "popular": None,
        "neighbours": None,
    }
    assert not [one for one in recwarn if "made by instructrec" in str(one.message)]
    committed = Results.load(ROOT / "benchmarks" / "results" / "baselines.json")
    assert len(committed.runs) > 20
    assert any("hard negatives" in name for _, _, name in committed.negatives)


def test_runs_of_another_version_are_told_once_and_kept(dataset, tmp_path):
    path = tmp_path / "results.json"
    experiment(dataset, path, MODELS[:2], candidates=CANDIDATES[:1])
    path.write_text(
        path.read_text("utf-8").replace(f'"version": "{__version__}"', '"version": "0.0.9"'), "utf-8"
    )
    before = ranks(Results.load(path))
    with pytest.warns(UserWarning, match="made by instructrec") as caught:
        loaded = experiment(dataset, path, candidates=CANDIDATES[:1])
    (warning,) = [str(one.message) for one in caught if "made by instructrec" in str(one.message)]
    assert f"{str(path)!r} holds runs made by instructrec 0.0.9, and this is {__version__}" in warning
    assert "\n" not in warning
    assert {key: value for key, value in ranks(loaded).items() if key in before} == before
    assert [one.version for one in loaded.runs if one.label == "guess"] == ["0.0.9"] * 4
    assert loaded.run("neighbours", "leave-last-out").version == __version__


def test_novelty_counts_the_users_who_have_an_event_in_training(dataset, finished):
    late = dataset.with_interactions(dataset.interactions.assign(timestamp=dataset.interactions["user_id"]))
    for data, some_are_new in ((dataset, False), (late, True)):
        part = SPLITS["global-time"](data)
        train = part.train.interactions
        of_users = train["user_id"].nunique()
        assert (of_users < part.train.n_users) == some_are_new
        n_users_of_item = train.groupby("item_id")["user_id"].nunique()
        items = part.train.items["item_id"]
        bits = np.array([np.log2(of_users / n_users_of_item.get(item, 1)) for item in items])
        loaded = run_experiment([MODELS[1]], data, protocols=("global-time",), progress=False).runs[0]
        expected = [bits[row[row >= 0]].mean() for row in loaded.lists]
        assert loaded.list_metrics["novelty"].tolist() == pytest.approx(expected, abs=1e-9)


# -- files and arguments that are refused --------------------------------------------------------------------------


def test_a_file_of_another_experiment_is_refused(dataset, finished, tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(finished[0].read_bytes())
    changed_data = dataset.with_interactions(dataset.interactions.iloc[1:])
    for message_part, change in {
        "sha256": {"dataset": changed_data},
        '"k": 5': {"models": [MODELS[0], ModelSpec("neighbours", "item-knn", {"k": 6})]},
        "as most-popular": {"models": [ModelSpec("popular", "random"), MODELS[2]]},
        "ranked against": {"candidates": CANDIDATES[:2]},
    }.items():
        with pytest.raises(InputError, match=re.escape(message_part)) as caught:
            experiment(change.pop("dataset", dataset), path, **change)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == finished[0].read_bytes()


DAMAGES = {
    "not JSON": lambda text: text[:-40],
    "a list": lambda text: "[]",
    "no format": lambda text: text.replace('"format"', '"version"', 1),
    "format of another": lambda text: text.replace('"format": 1', '"format": 2', 1),
    "a run without seconds": lambda text: text.replace('"seconds"', '"minutes"', 1),
    "a rank that is no number": lambda text: re.sub(r'"ranks": \[\[\d+\]', '"ranks": [["x"]', text, count=1),
    "a negative rank": lambda text: re.sub(r'"ranks": \[\[\d+\]', '"ranks": [[-1]', text, count=1),
    "one request less": lambda text: re.sub(r'"ranks": \[\[\d+\],', '"ranks": [', text, count=1),
    "one target more": lambda text: re.sub(r'"ranks": \[\[\d+\]', '"ranks": [[20,21]', text, count=1),
    "runs are text": lambda text: (
        '{"format": 1, "data": "x", "data_sha256": "y", "machine": {}, "runs": "none"}'
    ),
    "a run twice": lambda text: text.replace('"seed": 1', '"seed": 0'),
    "a chooser without settings": lambda text: re.sub(
        r'("choosers": .*?)"settings"', r'\1"options"', text, count=1, flags=re.DOTALL
    ),
    "a version that is no text": lambda text: re.sub(r'"version": "[^"]*"', '"version": 1', text, count=1),
    "binary": lambda text: "\0\1\2",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_file_is_refused_in_one_line_and_left_alone(dataset, finished, tmp_path, damage):
    path = tmp_path / "results.json"
    path.write_text(damage(finished[0].read_text("utf-8")), "utf-8")
    before = path.read_bytes()
    assert before != finished[0].read_bytes()
    for attempt in (lambda: Results.load(path), lambda: experiment(dataset, path)):
        with pytest.raises(InputError, match=r"results\.json") as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_file_that_is_none_is_refused(dataset, tmp_path):
    for path in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            Results.load(path)
    with pytest.raises(InputError, match="cannot read"):
        experiment(dataset, tmp_path)


def test_two_runs_on_one_file_do_not_overwrite_each_other(dataset, tmp_path):
    path = tmp_path / "results.json"

    class Meddling(MostPopular):
        def _fit(self, dataset):
            super()._fit(dataset)
            path.write_bytes(path.read_bytes() + b"\n")

    with pytest.raises(InputError, match="changed by another run"):
        experiment(dataset, path, [MODELS[1], ModelSpec("meddler", Meddling)], candidates=CANDIDATES[:1])


@pytest.mark.parametrize(
    ("message_part", "change"),
    [
        ("did you mean leave-last-out", {"protocols": ("leave-last-one",)}),
        ("unknown candidates", {"candidates": ("some",)}),
        ("neighbour", {"candidates": ("3 hard negatives by neighbour",)}),
        ("only 17 unseen|only 1. unseen", {"candidates": ("24 random negatives",)}),
        ("models is", {"models": ()}),
        ("twice", {"models": (MODELS[0], MODELS[0])}),
        ("twice", {"seeds": (1, 1)}),
        ("seeds is -1", {"seeds": (-1,)}),
        ("seeds is", {"seeds": ()}),
        ("part", {"part": "train"}),
        ("protocols is 'leave", {"protocols": "leave-last-out"}),
        ("a: unknown model", {"models": (ModelSpec("a", "nothing"),)}),
        ("b: unknown setting", {"models": (MODELS[0], ModelSpec("b", "item-knn", {"kk": 1}))}),
        ("b: k is 0", {"models": (MODELS[0], ModelSpec("b", "item-knn", {"k": 0}))}),
        ("c: a seed stands", {"models": (ModelSpec("c", "random", {"seed": 3}),)}),
        ("d: ", {"models": (ModelSpec("d", Broken, {"colour": 3}),)}),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(dataset, tmp_path, message_part, change):
    with pytest.raises(InputError, match=message_part) as caught:
        experiment(dataset, tmp_path / "results.json", **({"candidates": CANDIDATES[:1]} | change))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("message_part", "words"),
    [
        ("did you mean guess", {"label": "guesss"}),
        ("protocol and part", {"protocol": "random-holdout"}),
        ("candidates", {"candidates": "9 random negatives"}),
        ("seed of guess", {"seed": 5}),
        ("metric", {"metrics": ("NDCQ",)}),
        ("at least one", {"ks": ()}),
        ("k is 0", {"ks": (0,)}),
    ],
)
def test_what_a_file_does_not_hold_is_named(finished, message_part, words):
    with pytest.raises(InputError, match=message_part):
        finished[1].evaluation(**({"label": "guess", "protocol": "leave-last-out"} | words))


def test_the_digest_of_data_sees_order_and_values(dataset):
    rows = dataset.interactions
    shuffled = dataset.with_interactions(rows.iloc[::-1])
    changed = dataset.with_interactions(rows.assign(rating=5.0))
    digests = {results.data_digest(one) for one in (dataset, shuffled, changed)}
    assert len(digests) == 3
    assert results.data_digest(dataset.with_interactions(rows.copy())) in digests


def test_progress_names_the_model_on_standard_error(dataset, capsys):
    run_experiment(MODELS[1:2], dataset)
    out, err = capsys.readouterr()
    assert out == ""
    assert "popular (leave-last-out)" in err


def test_a_model_of_ones_own_counts_what_it_has_learnt(dataset):
    class Learnt(Broken):
        def _arrays(self):
            return {"weights": np.zeros((3, 4), dtype=np.float32), "names": np.arange(5)}

    assert issubclass(Learnt, Recommender)
    assert run_experiment([ModelSpec("x", Learnt)], dataset, progress=False).runs[0].parameters == 12
