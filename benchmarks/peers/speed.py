"""Time one library, block by block, on the same scores as the others; run by benchmarks/ranking_speed.py.

    python speed.py LIBRARY

Reads one JSON object per line, {"way", "block", "users", "items", "targets", "seed"}, generates the block's scores,
turns them into HR, NDCG and MRR at 10 in the requested way, and answers with a JSON line: seconds without the
generation, mean metrics, peak resident memory so far. With "blocks", `instructrec` ranks that many blocks as one
stream. Runs in the library's own environment; `instructrec` in the book's.
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
    """Return scores (users, items), float32, and targets (users, targets), whose scores no other item shares.

    Libraries break ties in different ways; without ties their metrics are comparable.
    """
    rng = np.random.default_rng([seed, block])
    scores = rng.random((users, items), dtype=np.float32)
    np.floor(scores * 2.0**22, out=scores)
    target_columns = rng.integers(0, items - targets + 1, (users, 1)) + np.arange(targets)
    fair = np.floor((1 - rng.random((users, targets), dtype=np.float32) ** 3) * 2.0**22)
    np.put_along_axis(scores, target_columns, np.minimum(fair, 2.0**22 - 1) + 0.5, axis=1)
    scores *= 2.0**-22
    return scores, target_columns


def instructrec():
    from instructrec.evaluation import METRICS, rank_blocks

    def full_rows(scores, targets):
        ranks = rank_blocks([scores], targets if targets.shape[1] > 1 else targets[:, 0])
        return [METRICS[name].from_ranks(ranks, K).mean() for name in ("HR", "NDCG", "MRR")]

    return {"full rows": (None, full_rows)}


def stream(question):
    """Rank all blocks by one call that holds one block at a time; return seconds without generation, and metrics."""
    from instructrec.evaluation import METRICS, rank_blocks

    sizes = [question[name] for name in ("users", "items", "targets")]
    seeds = [
        (question["seed"], block)
        for block in range(question["block"], question["block"] + question["blocks"])
    ]
    targets = np.concatenate([make(*seed, *sizes)[1] for seed in seeds])
    generation = 0.0

    def blocks():
        nonlocal generation
        for seed in seeds:
            started = time.perf_counter()
            scores, _ = make(*seed, *sizes)
            generation += time.perf_counter() - started
            yield scores
            del scores

    started = time.perf_counter()
    ranks = rank_blocks(blocks(), targets if targets.shape[1] > 1 else targets[:, 0])
    figures = [METRICS[name].from_ranks(ranks, K).mean() for name in ("HR", "NDCG", "MRR")]
    return time.perf_counter() - started - generation, figures


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

    def objects(lists, targets):
        """Evaluate one {item: score} per row by ranx's own classes, which sort it."""
        users = text(len(targets))[: len(targets)]
        qrels = {
            user: {str(item): 1 for item in row} for user, row in zip(users, targets.tolist(), strict=True)
        }
        values = evaluate(Qrels(qrels), Run(dict(zip(users, lists, strict=True))), names)
        return [values[name] for name in names]

    def full_rows(scores, targets):
        items = text(scores.shape[1])
        return objects([dict(zip(items, row, strict=True)) for row in scores.tolist()], targets)

    def lists_of(columns, values, targets):
        names_of = ([str(column) for column in row] for row in columns.tolist())
        lists = [
            dict(zip(row, line, strict=True)) for row, line in zip(names_of, values.tolist(), strict=True)
        ]
        return objects(lists, targets)

    def arrays(columns, values, targets):
        """Evaluate sorted arrays without ranx's classes, by its compiled code."""
        run = np.stack([columns.astype(np.float64), values.astype(np.float64)], axis=2)
        qrels = np.stack([targets.astype(np.float64), np.ones(targets.shape)], axis=2)
        values = evaluate(qrels, run, names)
        return [values[name] for name in names]

    return {
        "full rows": (None, full_rows),
        "NumPy cuts, classes": (None, lambda scores, targets: lists_of(*cut(scores), targets)),
        "NumPy cuts, arrays": (None, lambda scores, targets: arrays(*cut(scores), targets)),
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

    def direct(lists, targets, catalogue):
        """Call the metrics on each list, without collections and tables."""
        tests = [ItemList(item_nums=row, vocabulary=catalogue) for row in targets]
        values = [
            [metric.measure_list(item_list, test) for metric in metrics]
            for item_list, test in zip(lists, tests, strict=True)
        ]
        return np.mean(values, axis=0).tolist()

    def classes(lists, targets, catalogue):
        recommendations, tests = ItemListCollection(["user_id"]), ItemListCollection(["user_id"])
        for user, (item_list, row) in enumerate(zip(lists, targets, strict=True)):
            recommendations.add(item_list, user)
            tests.add(ItemList(item_nums=row, vocabulary=catalogue), user)
        analysis = RunAnalysis()
        for metric in metrics:
            analysis.add_metric(metric)
        return analysis.measure(recommendations, tests).list_metrics().mean().tolist()

    def full_rows(then):
        def work(scores, targets):
            catalogue = vocabulary(scores.shape[1])
            numbers = np.arange(scores.shape[1], dtype=np.int32)
            tops = [ItemList(item_nums=numbers, vocabulary=catalogue, scores=row).top_n(K) for row in scores]
            return then(tops, targets, catalogue)

        return work

    def ordered(columns, catalogue):
        return [
            ItemList(item_nums=row, vocabulary=catalogue, ordered=True) for row in columns.astype(np.int32)
        ]

    def numpy_cuts(scores, targets):
        catalogue = vocabulary(scores.shape[1])
        return direct(ordered(cut(scores)[0], catalogue), targets, catalogue)

    def prepare(scores):
        catalogue = vocabulary(scores.shape[1])
        return ordered(cut(scores)[0], catalogue), catalogue

    return {
        "full rows, classes": (None, full_rows(classes)),
        "full rows": (None, full_rows(direct)),
        "NumPy cuts": (None, numpy_cuts),
        "already cut": (prepare, lambda lists, catalogue, targets: direct(lists, targets, catalogue)),
    }


def main():
    (library,) = sys.argv[1:]
    from importlib.metadata import version

    ways = {"instructrec": instructrec, "ranx": ranx, "lenskit": lenskit}[library]()
    print(json.dumps({"version": version(library), "numpy": np.__version__, "ways": list(ways)}), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        if "blocks" in question:
            seconds, figures = stream(question)
        else:
            prepare, work = ways[question["way"]]
            scores, targets = make(
                *(question[name] for name in ("seed", "block", "users", "items", "targets"))
            )
            arguments = (scores,) if prepare is None else prepare(scores)
            started = time.perf_counter()
            figures = work(*arguments, targets)
            seconds = time.perf_counter() - started
            del scores, arguments
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        print(
            json.dumps(
                {
                    "seconds": seconds,
                    "figures": [float(value) for value in figures],
                    "peak_mb": round(peak, 1),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
