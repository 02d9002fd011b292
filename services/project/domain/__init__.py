"""What a project, a person, a team and a calendar are, and what may be done with them. Pure."""
