"""Four scenarios, each with what makes it different, on data whose truth is known: shop, feed, school, screen.

Each is worked in chapter `scenarios`.
"""

from instructrec.scenarios import feed as social
from instructrec.scenarios import school as education
from instructrec.scenarios import screen as media
from instructrec.scenarios import shop as ecommerce
from instructrec.scenarios.figures import curves_with_intervals

__all__ = ["curves_with_intervals", "ecommerce", "education", "media", "social"]
