"""The gas bars hold, by the receipts of real transactions."""

import pytest

from bench import gas


@pytest.mark.timeout(120)
def test_the_bars_hold() -> None:
    with gas.anvil() as chain:
        figures = gas.measure(chain)
    for name, bar in gas.BARS.items():
        figure = figures[name]
        assert isinstance(figure, int | float)
        assert abs(figure) <= bar, f"{name} is {figure}, its bar {bar}"
