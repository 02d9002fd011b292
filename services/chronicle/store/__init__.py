"""Every table and query of the chronicle, by kind of note."""
