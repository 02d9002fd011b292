"""Reading another system's backlog: rows of a CSV, what their cells mean, and what they make of tasks."""
