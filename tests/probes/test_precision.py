"""States of types that float32 does not hold: no value is lost, and the report says what was done."""

from __future__ import annotations

import numpy as np
import pytest

from boundprobe.probes import DecoderConfig, Encoding, StatesConfig, certify_states
from boundprobe.probes.precision import MOST_PARTS

Y = np.random.default_rng(0).integers(4, size=(1200, 2))
LINEAR = StatesConfig(DecoderConfig(("linear",)))
LONG = np.longdouble
NEED_LONG = pytest.mark.skipif(np.finfo(LONG).nmant < 63, reason="longdouble is float64 here")

#: States whose four values float32 would merge or lose.
MERGED = {
    "a small part of 1": 1 + Y * 1e-12,
    "below the smallest float32": Y * 1e-50,
    "below its smallest normal number": Y * 1e-42,
    "at the end of float64": Y * 5e-324,
    "one, and far below float32": np.where(Y == 3, 1.0, Y * 2.0**-200),
    "two of four": np.array([0.0, 1.0, 2.0, 2.0 + 1e-12])[Y],
    "int64": (Y - 2) * 2**61 + 1,
    "uint64": Y.astype(np.uint64) + np.uint64(2**63),
}
LONG_MERGED = {
    "a tiny part of 1": 1 + Y.astype(LONG) * LONG(2) ** -60,
    "below float64": Y.astype(LONG) * LONG(2) ** -2000,
}


def check(states):
    """Rows of different states are different rows, and the decoder reads them."""
    encoding = Encoding.fit(states[:500])
    entries = encoding(states)
    assert entries.dtype == np.float32
    assert np.isfinite(entries).all()
    for column in range(2):
        own = entries[:, [i for i in range(entries.shape[1]) if i % 2 == column]]
        assert len(np.unique(own, axis=0)) == 4
        for value in range(4):
            assert len(np.unique(own[Y[:, column] == value], axis=0)) == 1
    assert "exactly, but for 2 entries that float32 would merge, read in parts, by 500 rows" in encoding.says
    report = certify_states(states, Y, n_values=4, config=LINEAR)
    assert report.present.lower > 3.5


@pytest.mark.parametrize("name", MERGED)
def test_values_that_float32_merges_are_read_in_parts(name):
    check(MERGED[name])


@NEED_LONG
@pytest.mark.parametrize("name", LONG_MERGED)
def test_so_are_those_of_longer_floats(name):
    check(LONG_MERGED[name])


def test_differences_too_small_for_all_parts_are_refused_in_one_line():
    apart = 2.0 ** -(24 * MOST_PARTS + 400)
    with pytest.raises(
        ValueError, match=r"must have entries whose values 8 parts .*; got 2 entries of float64"
    ) as found:
        Encoding.fit(np.where(Y == 3, 1.0, Y * apart))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (Y.astype(np.float32), "states read as float32, exactly"),
        (Y.astype(">f4"), "states read as float32, exactly"),
        (Y.astype(np.float16), "states read as float32, exactly"),
        (Y.astype(bool), "states read as float32, exactly"),
        (Y * 1.0, "states read as float32, exactly, by 1200 rows looked at"),
        (Y.astype(np.int64), "states read as float32, exactly, by 1200 rows looked at"),
        (
            np.random.default_rng(1).normal(size=(1200, 2)),
            "states rounded to float32 (relative error 6e-8), which merges no more than 1% of the values of an entry, "
            "by 1200 rows looked at",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value.dtype),
)
def test_what_is_said_of_types_that_need_no_parts(states, said):
    encoding = Encoding.fit(states)
    assert encoding.says == said
    assert np.array_equal(encoding(states), states.astype(np.float32))


def test_an_entry_larger_than_all_that_were_looked_at_stays_finite():
    encoding = Encoding.fit(Y * 1e-50)
    assert np.isfinite(encoding(np.where(Y == 3, 1e38, Y * 1e-50))).all()
