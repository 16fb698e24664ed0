"""Ages, sizes and durations, as kubectl's users know them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.ops.durations import parse_duration
from kubectl_chrek.ops.formatting import human_age, human_bytes, human_duration, human_seconds

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"),
        (-1.5, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (9 * MINUTE + 59, "9m59s"),
        (10 * MINUTE + 59, "10m"),
        (119 * MINUTE, "119m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 3 * MINUTE, "3h3m"),
        (8 * HOUR + MINUTE, "8h"),
        (47 * HOUR, "47h"),
        (2 * DAY, "2d"),
        (2 * DAY + 3 * HOUR, "2d3h"),
        (8 * DAY + HOUR, "8d"),
        (120 * DAY, "120d"),
        (2 * YEAR, "2y"),
        (2 * YEAR + 5 * DAY, "2y5d"),
        (9 * YEAR + 5 * DAY, "9y"),
    ],
)
def test_durations_are_kubernetes_own(seconds, text):
    assert human_duration(seconds) == text


def test_ages():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert human_age(now - timedelta(minutes=5), now) == "5m"
    assert human_age(None, now) == "<unknown>"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1023, "1023"), (1024, "1Ki"), (1536, "1.5Ki"), (90 << 20, "90Mi"), (1_835_008, "1.75Mi"), (192 << 30, "192Gi")],
)
def test_sizes(size, text):
    assert human_bytes(size) == text


@given(st.integers(0, 1 << 62))
def test_a_size_is_short_and_close(size):
    text = human_bytes(size)
    assert len(text) <= 6
    number, unit = float(text.rstrip("KMGTPEi") or 0), text.lstrip("0123456789.")
    power = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].index(unit)
    assert number * 1024**power == pytest.approx(size, rel=0.006)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0.00s"), (0.423, "0.42s"), (7.25, "7.2s"), (59.94, "59.9s"), (59.96, "60s"), (184.2, "3m4s")]
)
def test_measured_times(seconds, text):
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("30", 30), ("45s", 45), ("1.5s", 1.5), ("500ms", 0.5), ("1h30m", 5400), ("14d", 14 * DAY), ("2w", 14 * DAY)],
)
def test_durations_that_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1s", "s", "1 h", "1x", "1.5", "٣"])
def test_durations_that_are_not(text):
    with pytest.raises(UsageError, match="invalid duration"):
        parse_duration(text)
