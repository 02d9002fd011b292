"""Tasks, stories, planning and importing as pure functions on frozen values."""
