"""The simulated bilingual shop: three CSV files in data/shop, the defects planted in them, and the true preferences.

`python -m instructrec.datasets.bilingual_shop` writes the files again, the same bytes each time. The behaviour file
has the columns of the article that the book mirrors (user, item, behaviour, rating) and the defects of a real log, each
counted in `DEFECTS`, so that a repair can be checked. Chapter `preprocessing` repairs it step by step.
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
"""Number of rows of the behaviour file with each planted defect; the last entry counts rows of the item file."""
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
    """Return the cleaned shop, or its raw behaviour table.

    Args:
        raw: Return the behaviour table with all planted defects instead.

    Returns:
        A `Dataset` whose items have `title`, `title_zh`, `categories`, `categories_zh`, `brand`, `price` (yuan),
        `sales`, `popularity` in [0, 1] and `rating_mean`, and whose interactions also have `behavior` and `price`; or
        the raw table of `shop_raw`.

    Raises:
        InputError: A file of the shop exists and cannot be read.
    """
    if raw:
        return shop_raw()
    tables = shop_tables()
    dataset, _ = clean_behavior(
        tables["user_behavior_data"], tables["users"], tables["items"], name="shop", card=CARD
    )
    return dataset


def shop_raw() -> pd.DataFrame:
    """Return user_behavior_data.csv as pandas reads it, with all defects; columns of mixed types are text."""
    return shop_tables()["user_behavior_data"]


def shop_tables(folder: str | os.PathLike[str] | None = None) -> Tables:
    """Return the three tables as pandas reads them, keyed "users", "items" and "user_behavior_data".

    Args:
        folder: Folder of the files; by default data/shop of the source tree. Where that does not exist, the tables are
            simulated, with the same result.

    Raises:
        InputError: A file is missing or cannot be read.
    """
    source = FOLDER if folder is None else Path(folder)
    if folder is None and not source.is_dir():
        return {
            name.removesuffix(".csv"): pd.read_csv(io.StringIO(text))
            for name, text in _csv_texts(SEED).items()
        }
    tables = {}
    for name in FILES:
        try:
            tables[name.removesuffix(".csv")] = pd.read_csv(source / name)
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot read the shop's file {str(source / name)!r} ({type(error).__name__}); "
                "`python -m instructrec.datasets.bilingual_shop` writes it again"
            ) from error
    return tables


def shop_truth(seed: int = SEED) -> Truth:
    """Return each user's true tastes and the true utility of each item in the simulation."""
    return _simulate(seed)[2].truth


def simulate_shop(seed: int = SEED) -> Tables:
    """Simulate the shop and plant the defects of `DEFECTS`.

    Args:
        seed: Seed of all random draws; the committed files use the default.

    Returns:
        Tables "users", "items" and "user_behavior_data"; cells that the file holds as text are text.
    """
    users, items, simulation = _simulate(seed)
    rng = np.random.default_rng(seed + 1)
    behavior = _plant_defects(_behavior(items, simulation, rng), rng)
    without_price = rng.choice(len(items), DEFECTS["items without a price"], replace=False)
    item_table = items.assign(price=_money(items["price"]))
    item_table.loc[without_price, "price"] = ""
    item_table["popularity"] = item_table["popularity"].map("{:.3f}".format)
    item_table["rating_mean"] = item_table["rating_mean"].map("{:.1f}".format)
    return {"users": users, "items": item_table, "user_behavior_data": behavior}


def write_shop(folder: str | os.PathLike[str], seed: int = SEED) -> list[Path]:
    """Write users.csv, items.csv and user_behavior_data.csv, each atomically.

    Args:
        folder: Target folder; created if it does not exist.
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
    """Return the log with the defects of `DEFECTS`, no row having two, so that each can be counted and repaired."""
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
    duplicated = take("exact duplicates", free)
    # A late row moves 200 to 2,000 rows down; a duplicate follows its original directly.
    position = np.arange(len(table), dtype=float)
    position[late] += rng.integers(200, 2000, len(late)) + 0.5
    copies = table.loc[duplicated]
    positions = np.concatenate([position, position[duplicated] + 0.25])
    return pd.concat([table, copies]).iloc[np.argsort(positions, kind="stable")].reset_index(drop=True)


def _money(prices: pd.Series) -> pd.Series:
    return prices.map("{:.2f}".format)


if __name__ == "__main__":
    for path in write_shop(sys.argv[1] if len(sys.argv) > 1 else FOLDER):
        print(f"{path}: {path.stat().st_size:,} bytes")
