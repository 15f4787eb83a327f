"""A synthetic click log whose true click probabilities are known.

An impression is a user on a publisher's page, shown one ad at one time. The log odds of a click are a sum of id
effects, a few pairwise interactions of latent vectors (user x category, slot x format, ...), smooth but not linear
effects of heavy-tailed numbers, and drift: ads start, tire and stop, and interest in categories moves with time.
Rows are in time order. The noise of the labels is a coin per row, so the teacher's own NE is the best reachable.
"""

import numpy as np

CATEGORICAL = (
    "user", "country", "device", "hour", "publisher", "slot", "ad", "advertiser", "category", "format", "age_band",
)  # fmt: skip
NUMERIC = ("bid", "ad_age_hours", "user_impressions", "user_clicks", "relevance", "dwell_ms")

USERS, COUNTRIES, DEVICES, PUBLISHERS, SLOTS = 600, 20, 6, 100, 8
ADS, ADVERTISERS, CATEGORIES, FORMATS, AGE_BANDS = 500, 100, 12, 5, 8
DAYS = 21.0
LATENT = 2


def zipf(rng: np.random.Generator, count: int, size: int, exponent: float) -> np.ndarray:
    """`size` ids below `count`, id k with probability proportional to (k + 10) ** -exponent (Zipf-Mandelbrot)."""
    weights = (np.arange(count) + 10.0) ** -exponent
    return np.searchsorted(np.cumsum(weights / weights.sum())[:-1], rng.random(size)).astype(np.int32)


def click_log(rows: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Categorical columns (int32, field-local ids from 1), numeric columns (float32, NaN = missing), labels (uint8)
    and the teacher's probabilities (float64), all [rows], in time order."""
    world = np.random.default_rng([seed, 1])  # effects: the same for any number of rows
    rng = np.random.default_rng([seed, 2])  # impressions

    # Who, where, when.
    day = np.sort(rng.random(rows)) * DAYS
    hour = np.minimum(23, rng.beta(2.6, 1.8, rows) * 24).astype(np.int32)
    user = zipf(rng, USERS, rows, 1.0)
    country = zipf(world, COUNTRIES, USERS, 1.4)[user]
    age_band = world.integers(0, AGE_BANDS, USERS)[user]
    device = np.where(rng.random(rows) < 0.8, zipf(world, DEVICES, USERS, 2.0)[user], zipf(rng, DEVICES, rows, 2.0))
    publisher = zipf(rng, PUBLISHERS, rows, 1.1)
    slot = np.where(
        rng.random(rows) < 0.6, world.integers(0, SLOTS, PUBLISHERS)[publisher], rng.integers(0, SLOTS, rows)
    )

    # Which ad: one that is live. Ads start at a random day, so late rows show ads that early rows never saw.
    start = np.sort(world.random(ADS)) * (DAYS + 10) - 10
    newest = np.searchsorted(start, day)
    back = rng.exponential(0.18 * ADS, rows)
    ad = np.clip(newest - 1 - back.astype(np.int64), 0, ADS - 1)
    popularity = world.permutation(
        ADS
    )  # a few ads take most impressions: pull half of the rows to their best neighbour
    pull = rng.random(rows) < 0.5
    neighbour = np.clip(ad - rng.integers(0, 12, rows), 0, ADS - 1)
    ad = np.where(pull & (popularity[neighbour] > popularity[ad]), neighbour, ad)
    advertiser = zipf(world, ADVERTISERS, ADS, 1.0)[ad]
    category = world.integers(0, CATEGORIES, ADVERTISERS)[advertiser]
    ad_format = world.integers(0, FORMATS, ADS)[ad]

    # Numbers, most with a heavy tail; some are missing for a reason.
    appetite = world.normal(0, 1, USERS)
    bid = np.exp(world.normal(0, 0.8, ADVERTISERS)[advertiser] + rng.normal(0, 0.5, rows))
    ad_age = np.maximum(0, day - start[ad]) * 24
    impressions = np.floor(np.exp(world.normal(3, 1.3, USERS)[user] + rng.normal(0, 0.3, rows)))
    clicks = rng.poisson(np.minimum(impressions, 5000) * 0.1 * np.exp(0.6 * appetite[user] - 0.2)).astype(np.float64)
    relevance = rng.beta(2, 4, rows)
    dwell = np.exp(rng.normal(8, 1.6, rows))
    new_user = rng.random(rows) < 0.08
    no_dwell = rng.random(rows) < np.where(device == 0, 0.05, 0.3)

    # The teacher.
    def effect(count: int, scale: float) -> np.ndarray:
        return world.normal(0, scale, count)

    def pair(a: np.ndarray, count_a: int, b: np.ndarray, count_b: int, scale: float) -> np.ndarray:
        left = world.normal(0, 1, (count_a, LATENT))
        right = world.normal(0, scale / np.sqrt(LATENT), (count_b, LATENT))
        return np.einsum("nk,nk->n", left[a], right[b])

    logit = (
        -1.5
        + 0.4 * appetite[user]
        + effect(COUNTRIES, 0.2)[country]
        + effect(DEVICES, 0.2)[device]
        + effect(PUBLISHERS, 0.35)[publisher]
        + effect(SLOTS, 0.35)[slot]
        + effect(ADS, 0.2)[ad]
        + effect(ADVERTISERS, 0.35)[advertiser]
        + effect(CATEGORIES, 0.3)[category]
        + effect(FORMATS, 0.2)[ad_format]
        + pair(user, USERS, category, CATEGORIES, 0.15)
        + pair(age_band, AGE_BANDS, category, CATEGORIES, 0.5)
        + pair(publisher, PUBLISHERS, category, CATEGORIES, 0.25)
        + pair(slot, SLOTS, ad_format, FORMATS, 0.6)
        + pair(device, DEVICES, hour, 24, 0.4)
        + pair(country, COUNTRIES, advertiser, ADVERTISERS, 0.2)
        + 0.5 * np.sin((hour - 5) / 24 * 2 * np.pi)
        + 0.3 * np.log(bid)
        - 0.3 * np.log1p(ad_age / 24)  # an ad tires
        + 1.2 * (relevance - 0.33) * np.where(ad_format < 2, 2.0, 0.5)
        + 1.4 * np.exp(-(((np.log(dwell) - 7.5) / 0.8) ** 2))  # neither a bounce nor a tab left open
        + 0.2 * effect(CATEGORIES, 1.0)[category] * (day / DAYS - 0.5)  # interests move
    )
    probability = 1 / (1 + np.exp(-logit))
    label = (rng.random(rows) < probability).astype(np.uint8)

    columns = (user, country, device, hour, publisher, slot, ad, advertiser, category, ad_format, age_band)
    categorical = {name: (column + 1).astype(np.int32) for name, column in zip(CATEGORICAL, columns, strict=True)}
    values = (
        bid,
        ad_age,
        np.where(new_user, np.nan, impressions),
        np.where(new_user, np.nan, clicks),
        relevance,
        np.where(no_dwell, np.nan, dwell),
    )
    numeric = {name: column.astype(np.float32) for name, column in zip(NUMERIC, values, strict=True)}
    return categorical, numeric, label, probability
