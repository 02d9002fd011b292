"""A forecast as a distribution: quantiles, intervals, chances, draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Equally likely values that stand for a distribution when it is mixed with others.
_POINTS = 200
# Steps in which the shortest interval is looked for.
_INTERVAL_STEPS = 101


@dataclass(frozen=True)
class Distribution:
    """A forecast quantity as its quantile function, linear between the levels given. `values` never fall.

    Beyond the outermost levels it goes on with the slope of the outermost piece, not below `floor`.
    """

    levels: NDArray[np.float64]
    values: NDArray[np.float64]
    floor: float = 0.0

    @classmethod
    def of(cls, levels: NDArray[np.float64], values: NDArray[np.float64], floor: float = 0.0) -> "Distribution":
        """The distribution with these quantiles; they are sorted, as quantiles fitted apart may cross.

        Source: rearrangement, Chernozhukov, Fernández-Val and Galichon, Econometrica 78 (2010).
        """
        inner = np.maximum(np.sort(values), floor)
        low = inner[0] - levels[0] * (inner[1] - inner[0]) / (levels[1] - levels[0])
        high = inner[-1] + (1 - levels[-1]) * (inner[-1] - inner[-2]) / (levels[-1] - levels[-2])
        return cls(np.r_[0.0, levels, 1.0], np.maximum(np.r_[low, inner, high], floor), floor)

    def quantile(self, level: float) -> float:
        """The value not exceeded with chance `level`, 0 to 1."""
        return float(np.interp(level, self.levels, self.values))

    def median(self) -> float:
        """The value that is as likely exceeded as not: the forecast with the least expected absolute error."""
        return self.quantile(0.5)

    def interval(self, level: float) -> tuple[float, float]:
        """The shortest range that holds with chance `level`, 0 to 1.

        Deliveries are often nothing at all, so equal tails would make it too wide: the lower one would be empty.
        """
        starts = np.linspace(0.0, 1.0 - level, _INTERVAL_STEPS)
        low = np.interp(starts, self.levels, self.values)
        high = np.interp(starts + level, self.levels, self.values)
        best = int(np.argmin(high - low))
        return float(low[best]), float(high[best])

    def chance_of(self, least: float) -> float:
        """Chance that the quantity is at least `least`, 0 to 1."""
        if least <= self.values[0]:
            return 1.0
        if least > self.values[-1]:
            return 0.0
        # The first level whose value reaches it: of a flat piece the lower end.
        after = int(np.searchsorted(self.values, least, side="left"))
        low, high = self.values[after - 1], self.values[after]
        share = (least - low) / (high - low)
        return 1.0 - float(self.levels[after - 1] + share * (self.levels[after] - self.levels[after - 1]))

    def mixed(self, values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> "Distribution":
        """This distribution with a `share`, 0 to 1, given to weighted values instead."""
        points = self.draw((np.arange(_POINTS) + 0.5) / _POINTS)
        every = np.r_[points, values]
        chances = np.r_[np.full(_POINTS, (1 - share) / _POINTS), share * weights / weights.sum()]
        order = np.argsort(every, kind="stable")
        levels = np.cumsum(chances[order]) - chances[order] / 2
        ends = every[order][0], every[order][-1]
        return Distribution(np.r_[0.0, levels, 1.0], np.r_[ends[0], every[order], ends[1]], self.floor)

    def draw(self, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Draws by inversion of uniform numbers, 0 to 1."""
        return np.interp(uniforms, self.levels, self.values)
