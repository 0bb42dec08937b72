"""Amounts, sizes and times: as written, exactly; and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.node.units import (
    bytes_from_size,
    duration,
    gwei,
    seconds_from_duration,
    size,
    tokens,
    wei_from_gwei,
    wei_from_tokens,
)


@given(st.integers(0, 10**36 - 1))
def test_amounts_survive_being_written(wei: int) -> None:
    assert wei_from_tokens(tokens(wei)) == wei


def test_amounts_read_well() -> None:
    assert [tokens(wei) for wei in (0, 1, 10**18, 15 * 10**17, -(10**17))] == [
        "0",
        "0.000000000000000001",
        "1",
        "1.5",
        "-0.1",
    ]


@pytest.mark.parametrize("text", ["", "x", "-1", "1e40", "nan", "inf", "0.0000000000000000001", "1,5"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|range|base unit"):
        wei_from_tokens(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("4096", 4096), ("1KiB", 1024), ("1k", 1024), ("1KB", 1000), ("1.5 GiB", 3 * 2**29), ("2t", 2**41), ("0", 0)],
)
def test_sizes_are_read(text: str, count: int) -> None:
    assert bytes_from_size(text) == count


@pytest.mark.parametrize("text", ["", "much", "-1", "1 PiB", "1..2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        bytes_from_size(text)


def test_sizes_read_well() -> None:
    assert [size(count) for count in (0, 1023, 1024, 3 * 2**29, 2**52)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "4096.0 TiB",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("250ms", 0.25), ("10m", 600), ("2h", 7200), ("1.5d", 129_600)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_from_duration(text) == seconds


def test_durations_read_well() -> None:
    assert [duration(s) for s in (-1, 0.25, 42, 60, 185, 7800, 100_000)] == [
        "0.0 s",
        "0.2 s",
        "42 s",
        "1 min",
        "3 min 5 s",
        "2 h 10 min",
        "1 d 3 h",
    ]


@pytest.mark.parametrize(
    ("text", "wei"), [("30", 30 * 10**9), ("0.05", 5 * 10**7), ("0.000000001", 1), (500, 5 * 10**11)]
)
def test_gas_prices_are_read(text: str | int, wei: int) -> None:
    assert wei_from_gwei(text) == wei
    assert wei_from_gwei(gwei(wei)) == wei


@pytest.mark.parametrize("text", ["", "dear", "-1", "0.0000000001", "inf", "nan", "1e30"])
def test_what_is_no_gas_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="gwei"):
        wei_from_gwei(text)
