"""The simulated bilingual shop: three CSV files in data/shop, the defects planted in them, and the truth behind them.

`python -m instructrec.datasets.bilingual_shop` writes the files again, the same bytes each time. The behaviour file
has the columns of the article that the book mirrors (user, item, behaviour, rating) and the faults of a real log, each
counted in `DEFECTS`, so that a repair can be checked. Repaired step by step in chapter `preprocessing`.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Literal, overload

import numpy as np
import pandas as pd

from instructrec.datasets.cleaning import clean_behavior
from instructrec.datasets.dataset import DataCard, Dataset
from instructrec.datasets.shop_products import BRAND_FACTORS, BRANDS, products
from instructrec.datasets.simulator import Simulation, Truth, simulate
from instructrec.errors import InputError
from instructrec.files import DATA_FOLDER, atomic_write

SEED = 20230511
N_USERS = 600
START = 1_683_763_200  # 2023-05-11 00:00 UTC
DAYS = 365
FOLDER = DATA_FOLDER / "shop"
FILES = ("users.csv", "items.csv", "user_behavior_data.csv")
CITIES = (
    ("Beijing", "北京"),
    ("Shanghai", "上海"),
    ("Guangzhou", "广州"),
    ("Shenzhen", "深圳"),
    ("Chengdu", "成都"),
    ("Hangzhou", "杭州"),
    ("Wuhan", "武汉"),
    ("Xi'an", "西安"),
    ("Nanjing", "南京"),
    ("Chongqing", "重庆"),
    ("Qingdao", "青岛"),
    ("Kunming", "昆明"),
)
# What is planted, in rows of the behaviour file (the last: rows of the item file).
DEFECTS = {
    "exact duplicates": 240,
    "purchases without a rating": 300,
    "events without a price": 500,
    "ratings as text, such as '4 stars' or '5星'": 150,
    "purchases rated 'not rated'": 60,
    "prices as text, such as '¥129.00' or '129.00元'": 260,
    "events of unknown users": 45,
    "events of unknown items": 55,
    "events out of time order": 320,
    "items without a price": 14,
}
CARD = DataCard(
    title="Simulated bilingual shop",
    summary=(
        f"A year of clicks, cart additions and purchases in an invented shop: {N_USERS} users, {len(products())} "
        "products of 12 categories with English and Chinese titles, and a behaviour log, repaired here."
    ),
    source=f"`python -m instructrec.datasets.bilingual_shop` (seed {SEED}) writes data/shop, the same bytes each time",
    licence="Made by this project, Apache-2.0 like its code; brands and people are invented",
    caveats=(
        (
            "Planted in user_behavior_data.csv (rows): "
            + "; ".join(f"{name}: {count}" for name, count in DEFECTS.items())
            + "."
        ),
        "Only purchases are rated: a click without a rating is not a gap to fill.",
        "Ids are not contiguous, as in a real shop.",
        "A user may buy the same thing again later: that is not a duplicate.",
        "popularity, sales and rating_mean are of the year before the log, so that they tell nothing of its future.",
        "Tastes do not depend on age, gender or city: a finding that they do is noise.",
        "Simulated users are simpler than people: use the shop to check methods against truth, not to rank them.",
    ),
)
Tables = dict[str, pd.DataFrame]


@overload
def shop(raw: Literal[False] = False) -> Dataset: ...
@overload
def shop(raw: Literal[True]) -> pd.DataFrame: ...
@overload
def shop(raw: bool) -> Dataset | pd.DataFrame: ...
def shop(raw: bool = False) -> Dataset | pd.DataFrame:
    """Return the shop, repaired, or its behaviour table as the file has it.

    Args:
        raw: True for the behaviour table with every planted defect.

    Returns:
        A `Dataset` whose items have `title`, `title_zh`, `categories`, `categories_zh`, `brand`, `price` (yuan, none
        missing), `sales`, `popularity` in [0, 1], `rating_mean`, and whose interactions have `behavior` and `price`
        besides; or the raw table of `shop_raw`.

    Raises:
        InputError: The shop's files are there but unreadable.
    """
    if raw:
        return shop_raw()
    tables = shop_tables()
    dataset, _ = clean_behavior(
        tables["user_behavior_data"], tables["users"], tables["items"], name="shop", card=CARD
    )
    return dataset


def shop_raw() -> pd.DataFrame:
    """Return user_behavior_data.csv as pandas reads it, defects and all: text columns where types are mixed."""
    return shop_tables()["user_behavior_data"]


def shop_tables(folder: str | os.PathLike[str] | None = None) -> Tables:
    """Return the three tables as pandas reads them, keyed "users", "items" and "user_behavior_data".

    Args:
        folder: Where the files lie; by default data/shop of the source tree, and where that is not there the tables are
            simulated: they are the same.

    Raises:
        InputError: A file is missing or cannot be read.
    """
    place = FOLDER if folder is None else Path(folder)
    if folder is None and not place.is_dir():
        return {
            name.removesuffix(".csv"): pd.read_csv(io.StringIO(text))
            for name, text in _csv_texts(SEED).items()
        }
    tables = {}
    for name in FILES:
        try:
            tables[name.removesuffix(".csv")] = pd.read_csv(place / name)
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot read the shop's file {str(place / name)!r} ({type(error).__name__}); "
                "`python -m instructrec.datasets.bilingual_shop` writes it again"
            ) from error
    return tables


def shop_truth(seed: int = SEED) -> Truth:
    """Return each user's true tastes and the true utility of each item, as the shop was simulated."""
    return _simulate(seed)[2].truth


def simulate_shop(seed: int = SEED) -> Tables:
    """Simulate the shop and plant the defects of `DEFECTS`.

    Args:
        seed: Seed of every draw; the committed files use the default.

    Returns:
        Tables "users", "items" and "user_behavior_data", their cells as text where the file has text.
    """
    users, items, simulation = _simulate(seed)
    rng = np.random.default_rng(seed + 1)
    behavior = _plant_defects(_behavior(items, simulation, rng), rng)
    without_price = rng.choice(len(items), DEFECTS["items without a price"], replace=False)
    shown = items.assign(price=_money(items["price"]))
    shown.loc[without_price, "price"] = ""
    shown["popularity"] = shown["popularity"].map("{:.3f}".format)
    shown["rating_mean"] = shown["rating_mean"].map("{:.1f}".format)
    return {"users": users, "items": shown, "user_behavior_data": behavior}


def write_shop(folder: str | os.PathLike[str], seed: int = SEED) -> list[Path]:
    """Write users.csv, items.csv and user_behavior_data.csv, each whole or not at all.

    Args:
        folder: Where to write; made if it is not there.
        seed: Seed of the simulation.

    Returns:
        The paths written.

    Raises:
        InputError: The folder cannot be written.
    """
    paths = []
    for name, text in _csv_texts(seed).items():
        with atomic_write(Path(folder) / name) as handle:
            handle.write(text)
        paths.append(Path(folder) / name)
    return paths


def _csv_texts(seed: int) -> dict[str, str]:
    return {
        f"{name}.csv": table.to_csv(index=False, lineterminator="\n")
        for name, table in simulate_shop(seed).items()
    }


def _simulate(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, Simulation]:
    rng = np.random.default_rng(seed)
    users, items = _users(rng), _items(rng)
    simulation = simulate(
        items,
        users["user_id"].tolist(),
        events_per_user=28,
        behaviors=("click", "cart", "purchase"),
        start=START,
        days=DAYS,
        seed=seed,
    )
    return users, _with_last_year(items, simulation.truth, rng), simulation


def _users(rng: np.random.Generator) -> pd.DataFrame:
    cities = rng.integers(0, len(CITIES), N_USERS)
    return pd.DataFrame(
        {
            "user_id": np.sort(rng.choice(np.arange(1000, 2000), N_USERS, replace=False)),
            "age": np.clip(np.round(rng.normal(34, 11, N_USERS)), 18, 75).astype(int),
            "gender": np.where(rng.random(N_USERS) < 0.52, "F", "M"),
            "city": [CITIES[number][0] for number in cities],
            "city_zh": [CITIES[number][1] for number in cities],
        }
    )


def _items(rng: np.random.Generator) -> pd.DataFrame:
    catalogue = products()
    order = rng.permutation(len(catalogue))
    chosen = [catalogue[number] for number in order]
    brands = [BRANDS[product.category][rng.integers(len(BRANDS[product.category]))] for product in chosen]
    exact = np.array([p.base_price * BRAND_FACTORS[b] for p, b in zip(chosen, brands, strict=True)])
    return pd.DataFrame(
        {
            "item_id": np.sort(rng.choice(np.arange(100, 1000), len(chosen), replace=False)),
            "title": [product.title for product in chosen],
            "title_zh": [product.title_zh for product in chosen],
            "category": [product.category for product in chosen],
            "category_zh": [product.category_zh for product in chosen],
            "brand": brands,
            # Shop prices end in 9 from 30 yuan up, in .9 below.
            "price": np.where(exact >= 30, np.round(exact / 10) * 10 - 1, np.round(exact) - 0.1),
        }
    )


def _with_last_year(items: pd.DataFrame, truth: Truth, rng: np.random.Generator) -> pd.DataFrame:
    appeal = truth.exposure.to_numpy() * np.exp(0.5 * truth.quality.to_numpy())
    sales = rng.poisson(40_000 * appeal / appeal.sum())
    rank = pd.Series(sales).rank(method="average").to_numpy()
    return items.assign(
        sales=sales,
        popularity=(rank - 1) / (len(items) - 1),
        rating_mean=np.clip(3.9 + 0.5 * truth.quality.to_numpy() + rng.normal(0, 0.15, len(items)), 1, 5),
    )


def _behavior(items: pd.DataFrame, simulation: Simulation, rng: np.random.Generator) -> pd.DataFrame:
    events = simulation.events
    again = events[events["behavior"] == "purchase"].sample(frac=0.03, random_state=rng)
    again = again.assign(timestamp=again["timestamp"] + rng.integers(20 * 86_400, 60 * 86_400, len(again)))
    again = again[again["timestamp"] < START + DAYS * 86_400]
    events = pd.concat([events, again]).sort_values("timestamp", kind="stable", ignore_index=True)
    price = events["item_id"].map(items.set_index("item_id")["price"])
    discount = rng.choice([1.0, 0.95, 0.9, 0.8], len(events), p=[0.7, 0.12, 0.1, 0.08])
    return pd.DataFrame(
        {
            "user_id": events["user_id"],
            "item_id": events["item_id"],
            "behavior": events["behavior"],
            "rating": events["rating"].map(lambda stars: "" if np.isnan(stars) else f"{stars:.0f}"),
            "price": _money(price * discount),
            "timestamp": pd.to_datetime(events["timestamp"], unit="s").dt.strftime("%Y-%m-%d %H:%M:%S"),
        }
    )


def _plant_defects(clean: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the log with each defect of `DEFECTS` in rows of its own, so that each can be counted and repaired."""
    table = clean.astype({"rating": object, "price": object})
    free = rng.permutation(len(table))
    rated = free[table["rating"].to_numpy()[free] != ""]
    used: set[int] = set()

    def take(name: str, among: np.ndarray) -> list[int]:
        rows = [int(row) for row in among if int(row) not in used][: DEFECTS[name]]
        used.update(rows)
        return rows

    rows = take("purchases without a rating", rated)
    table.loc[rows, "rating"] = ""
    rows = take("ratings as text, such as '4 stars' or '5星'", rated)
    forms = ("{} stars", "{}星")
    table.loc[rows, "rating"] = [forms[n % 2].format(table.at[row, "rating"]) for n, row in enumerate(rows)]
    table.loc[take("purchases rated 'not rated'", rated), "rating"] = "not rated"
    table.loc[take("events without a price", free), "price"] = ""
    rows = take("prices as text, such as '¥129.00' or '129.00元'", free)
    forms = ("¥{}", "{}元")
    table.loc[rows, "price"] = [forms[n % 2].format(table.at[row, "price"]) for n, row in enumerate(rows)]
    rows = take("events of unknown users", free)
    table.loc[rows, "user_id"] = rng.integers(9000, 9100, len(rows))
    rows = take("events of unknown items", free)
    table.loc[rows, "item_id"] = rng.integers(5000, 5100, len(rows))
    late = take("events out of time order", free[free < len(table) - 2000])
    twice = take("exact duplicates", free)
    # A late row moves 200 to 2,000 places down; a duplicate stands right behind its original.
    place = np.arange(len(table), dtype=float)
    place[late] += rng.integers(200, 2000, len(late)) + 0.5
    copies = table.loc[twice]
    places = np.concatenate([place, place[twice] + 0.25])
    return pd.concat([table, copies]).iloc[np.argsort(places, kind="stable")].reset_index(drop=True)


def _money(prices: pd.Series) -> pd.Series:
    return prices.map("{:.2f}".format)


if __name__ == "__main__":
    for written in write_shop(sys.argv[1] if len(sys.argv) > 1 else FOLDER):
        print(f"{written}: {written.stat().st_size:,} bytes")
