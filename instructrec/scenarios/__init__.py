"""Four scenarios, each with the aspect that sets it apart, on data whose true preferences are known.

`shop` (price and repeat purchases), `feed` (age of posts, feedback loops), `school` (prerequisites, goals) and `screen`
(occasions, the long tail; its data are real). Each is worked out in chapter `scenarios`.
"""

from instructrec.scenarios import feed, school, screen, shop
from instructrec.scenarios.figures import curves_with_intervals

__all__ = ["curves_with_intervals", "feed", "school", "screen", "shop"]
