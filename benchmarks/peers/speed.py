"""Time one library, block by block, on the same scores as the others; called by benchmarks/ranking_speed.py.

    python speed.py LIBRARY

Reads a JSON object a line, {"way", "block", "users", "items", "targets", "seed"}, makes that block's scores, turns them
into HR, NDCG and MRR at 10 in the way asked for, and answers with a JSON line: seconds without the making, mean
figures, the largest resident memory so far. With "blocks" too, `instructrec` ranks so many blocks as one stream. Runs
in the library's own environment; `instructrec` in the book's.
"""

import json
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402

K = 10


def make(seed, block, users, items, targets):
    """Return scores (users, items), float32, and targets (users, targets), whose scores no wrong item shares.

    Libraries order equal scores in their own ways; without such ties their figures can be compared.
    """
    rng = np.random.default_rng([seed, block])
    scores = rng.random((users, items), dtype=np.float32)
    np.floor(scores * 2.0**22, out=scores)
    wanted = rng.integers(0, items - targets + 1, (users, 1)) + np.arange(targets)
    fair = np.floor((1 - rng.random((users, targets), dtype=np.float32) ** 3) * 2.0**22)
    np.put_along_axis(scores, wanted, np.minimum(fair, 2.0**22 - 1) + 0.5, axis=1)
    scores *= 2.0**-22
    return scores, wanted


def instructrec():
    from instructrec.evaluation import METRICS, rank_blocks

    def full_rows(scores, wanted):
        ranks = rank_blocks([scores], wanted if wanted.shape[1] > 1 else wanted[:, 0])
        return [METRICS[name].from_ranks(ranks, K).mean() for name in ("HR", "NDCG", "MRR")]

    return {"full rows": (None, full_rows)}


def stream(asked):
    """Rank all blocks by one call that never holds two of them; return its seconds without the making, and figures."""
    from instructrec.evaluation import METRICS, rank_blocks

    sizes = [asked[name] for name in ("users", "items", "targets")]
    seeds = [(asked["seed"], block) for block in range(asked["block"], asked["block"] + asked["blocks"])]
    wanted = np.concatenate([make(*seed, *sizes)[1] for seed in seeds])
    making = 0.0

    def blocks():
        nonlocal making
        for seed in seeds:
            started = time.perf_counter()
            scores, _ = make(*seed, *sizes)
            making += time.perf_counter() - started
            yield scores
            del scores

    started = time.perf_counter()
    ranks = rank_blocks(blocks(), wanted if wanted.shape[1] > 1 else wanted[:, 0])
    figures = [METRICS[name].from_ranks(ranks, K).mean() for name in ("HR", "NDCG", "MRR")]
    return time.perf_counter() - started - making, figures


def cut(scores):
    """Return columns and scores of each row's best K, best first: the usual NumPy way."""
    best = np.argpartition(scores, scores.shape[1] - K, axis=1)[:, -K:]
    values = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-values, axis=1)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)


def ranx():
    from ranx import Qrels, Run, evaluate

    names = [f"hit_rate@{K}", f"ndcg@{K}", f"mrr@{K}"]
    texts = {}

    def text(size):
        if size not in texts:
            texts[size] = [str(number) for number in range(size)]
        return texts[size]

    def objects(lists, wanted):
        """Measure {item: score} a row in ranx's own classes, which sort it."""
        users = text(len(wanted))[: len(wanted)]
        qrels = {
            user: {str(item): 1 for item in row} for user, row in zip(users, wanted.tolist(), strict=True)
        }
        found = evaluate(Qrels(qrels), Run(dict(zip(users, lists, strict=True))), names)
        return [found[name] for name in names]

    def full_rows(scores, wanted):
        items = text(scores.shape[1])
        return objects([dict(zip(items, row, strict=True)) for row in scores.tolist()], wanted)

    def lists_of(columns, values, wanted):
        names_of = ([str(column) for column in row] for row in columns.tolist())
        lists = [
            dict(zip(row, line, strict=True)) for row, line in zip(names_of, values.tolist(), strict=True)
        ]
        return objects(lists, wanted)

    def arrays(columns, values, wanted):
        """Measure sorted arrays, past ranx's classes: what its compiled code reads."""
        run = np.stack([columns.astype(np.float64), values.astype(np.float64)], axis=2)
        qrels = np.stack([wanted.astype(np.float64), np.ones(wanted.shape)], axis=2)
        found = evaluate(qrels, run, names)
        return [found[name] for name in names]

    return {
        "full rows": (None, full_rows),
        "NumPy cuts, classes": (None, lambda scores, wanted: lists_of(*cut(scores), wanted)),
        "NumPy cuts, arrays": (None, lambda scores, wanted: arrays(*cut(scores), wanted)),
        "already cut, classes": (cut, lists_of),
        "already cut, arrays": (cut, arrays),
    }


def lenskit():
    from lenskit.data import ItemList, ItemListCollection, Vocabulary
    from lenskit.metrics import NDCG, Hit, RecipRank, RunAnalysis
    from lenskit.metrics.ranking import LogRankWeight

    metrics = [Hit(K), NDCG(K, weight=LogRankWeight(offset=1)), RecipRank(K)]
    words = {}

    def vocabulary(size):
        if size not in words:
            words[size] = Vocabulary(np.arange(size), name="item")
        return words[size]

    def direct(lists, wanted, known):
        """Call the metrics on each list, past the collections and tables."""
        tests = [ItemList(item_nums=row, vocabulary=known) for row in wanted]
        found = [
            [metric.measure_list(one, test) for metric in metrics]
            for one, test in zip(lists, tests, strict=True)
        ]
        return np.mean(found, axis=0).tolist()

    def classes(lists, wanted, known):
        shown, tests = ItemListCollection(["user_id"]), ItemListCollection(["user_id"])
        for user, (one, row) in enumerate(zip(lists, wanted, strict=True)):
            shown.add(one, user)
            tests.add(ItemList(item_nums=row, vocabulary=known), user)
        analysis = RunAnalysis()
        for metric in metrics:
            analysis.add_metric(metric)
        return analysis.measure(shown, tests).list_metrics().mean().tolist()

    def full_rows(then):
        def work(scores, wanted):
            known = vocabulary(scores.shape[1])
            numbers = np.arange(scores.shape[1], dtype=np.int32)
            tops = [ItemList(item_nums=numbers, vocabulary=known, scores=row).top_n(K) for row in scores]
            return then(tops, wanted, known)

        return work

    def ordered(columns, known):
        return [ItemList(item_nums=row, vocabulary=known, ordered=True) for row in columns.astype(np.int32)]

    def numpy_cuts(scores, wanted):
        known = vocabulary(scores.shape[1])
        return direct(ordered(cut(scores)[0], known), wanted, known)

    def prepare(scores):
        known = vocabulary(scores.shape[1])
        return ordered(cut(scores)[0], known), known

    return {
        "full rows, classes": (None, full_rows(classes)),
        "full rows": (None, full_rows(direct)),
        "NumPy cuts": (None, numpy_cuts),
        "already cut": (prepare, lambda lists, known, wanted: direct(lists, wanted, known)),
    }


def main():
    (library,) = sys.argv[1:]
    from importlib.metadata import version

    ways = {"instructrec": instructrec, "ranx": ranx, "lenskit": lenskit}[library]()
    print(json.dumps({"version": version(library), "numpy": np.__version__, "ways": list(ways)}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "blocks" in asked:
            seconds, figures = stream(asked)
        else:
            prepare, work = ways[asked["way"]]
            scores, wanted = make(*(asked[name] for name in ("seed", "block", "users", "items", "targets")))
            given = (scores,) if prepare is None else prepare(scores)
            started = time.perf_counter()
            figures = work(*given, wanted)
            seconds = time.perf_counter() - started
            del scores, given
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        print(
            json.dumps(
                {"seconds": seconds, "figures": [float(one) for one in figures], "peak_mb": round(peak, 1)}
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
