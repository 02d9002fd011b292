"""Tools of the repository: generation, locking and the check for breaking changes."""
