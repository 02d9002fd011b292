"""The rules of sprints, as pure functions: states and days, planning, progress, the daily scrum, closing, burndown."""
