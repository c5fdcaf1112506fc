"""The expected largest count beyond the sizes of the long transform: above the slow value, and hardly."""

import pytest

from boundprobe.bounds import expected_max_count
from boundprobe.bounds.max_count import MOST_EXACT, _expectation


@pytest.mark.parametrize(("n_balls", "n_bins"), [(2001, 26), (2500, 2), (3000, 7), (3000, 1000), (3000, 30000)])
def test_beyond_the_exact_sizes_it_is_a_tight_upper_bound(n_balls: int, n_bins: int) -> None:
    assert n_balls > MOST_EXACT
    slow = _expectation(n_balls, n_bins, 1 << (2 * n_balls + 255).bit_length())[0]
    found = expected_max_count(n_balls, n_bins)
    assert slow <= found <= slow + 1e-7 * n_balls
    # The slack is what makes it a bound: it covers the difference of the transforms with room.
    short, slack = _expectation(n_balls, n_bins, 1024)
    assert abs(short - slow) <= slack


def test_a_transform_that_is_too_short_is_seen() -> None:
    """The negative control: sums that fold back onto n are not covered."""
    slow = _expectation(2500, 26, 1 << 13)[0]
    short, slack = _expectation(2500, 26, 64)
    assert abs(short - slow) > slack
