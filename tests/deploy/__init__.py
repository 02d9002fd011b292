"""Checks of the image and the chart; `make check-deploy` runs them, with a real helm and hadolint."""
