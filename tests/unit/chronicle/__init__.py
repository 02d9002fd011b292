"""The chronicle's rules and formulas."""
