"""Fits the coefficients of services/orchestrator/domain/forecast to past sprints."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.orchestrator.domain.forecast.delivery import FIGURES, Coefficients

LEVELS = np.array([0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975])
# What is done or begun never makes less to be expected: noise that says so is not believed.
_NEVER_BELOW_ZERO = [FIGURES.index(name) for name in ("done", "in progress", "anything begun")]
# Between every sprint alike (0) and every point alike (1), in spreads of its project.
_SIZE_POWER = 0.55
_RIDGE = 0.01
_STEPS = 40


@dataclass(frozen=True)
class Example:
    """A sprint to learn from: its figures, its scale, what it delivered, and its project's spread (points)."""

    figures: NDArray[np.float64]
    scale: float
    delivered: float
    spread: float


def fit(examples: dict[float, Sequence[Example]]) -> Coefficients:
    """The coefficients at each share of elapsed time, from the examples at it."""
    return Coefficients(LEVELS, {elapsed: _fit_moment(learned) for elapsed, learned in examples.items()})


def _fit_moment(examples: Sequence[Example]) -> NDArray[np.float64]:
    figures = np.array([example.figures for example in examples])
    scale = np.array([example.scale for example in examples])
    delivered = np.array([example.delivered for example in examples]) / scale
    weights = (scale / np.array([example.spread for example in examples])) ** _SIZE_POWER
    return np.array([_fit_level(figures, delivered, weights / weights.mean(), level) for level in LEVELS])


def _fit_level(
    figures: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64], level: float
) -> NDArray[np.float64]:
    """One quantile's coefficients; those that must not be negative and are, are left out one after the other."""
    used = list(range(figures.shape[1]))
    while True:
        found = _quantile_regression(figures[:, used], target, weights, level)
        wrong = [(value, index) for value, index in zip(found, used, strict=True) if index in _NEVER_BELOW_ZERO]
        if not wrong or min(wrong)[0] >= 0:
            coefficients = np.zeros(figures.shape[1])
            coefficients[used] = found
            return coefficients
        used.remove(min(wrong)[1])


def _quantile_regression(
    figures: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64], level: float
) -> NDArray[np.float64]:
    """Linear quantile regression with a little ridge, by iteratively reweighted least squares.

    The check loss is a square loss with weights |level - 1(r < 0)| / |r|; the smallest |r| let in shrinks from step to
    step (Schlossmacher, JASA 68, 1973). The first column is the constant and is not shrunk.
    """
    mean, spread = figures.mean(axis=0), figures.std(axis=0)
    mean[0], spread[spread == 0] = 0.0, 1.0
    columns = (figures - mean) / spread
    penalty = np.eye(columns.shape[1]) * _RIDGE * len(target)
    penalty[0, 0] = 0.0
    found = np.linalg.lstsq(columns, target, rcond=None)[0]
    for step in range(_STEPS):
        rest = target - columns @ found
        least = max(1e-4, 0.1 * 0.8**step)
        pull = weights * np.where(rest >= 0, level, 1 - level) / np.maximum(np.abs(rest), least)
        weighted = columns * pull[:, None]
        found = np.asarray(np.linalg.solve(columns.T @ weighted + penalty, weighted.T @ target))
    coefficients: NDArray[np.float64] = found / spread
    coefficients[0] = found[0] - float((found[1:] / spread[1:]) @ mean[1:])
    return coefficients
