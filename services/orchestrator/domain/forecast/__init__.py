"""Forecasts: what a sprint delivers, how far a team gets by a day, and how past forecasts did.

`delivery` forecasts one sprint from its plan, its progress and past sprints; `pace` simulates the days ahead from it;
`calibration` compares forecasts with what happened. Sizes are in one unit throughout: tasks or points.
"""
