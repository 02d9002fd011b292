"""What a backlog is about: a sample of its titles, seen against the background of what all work is about."""

import hashlib
from dataclasses import dataclass

# Titles kept per project. The means of two halves of one real backlog of 400 titles have a cosine of 0.89 to 0.96
# against the background; with 50 titles each it is 0.69 to 0.86.
SAMPLE_SIZE = 200
# Fewer titles than this say nothing about a project.
MIN_TITLES = 5
# How many projects the background titles stand for. Against the mean of the projects alone, a few projects would all
# look opposed: the cosines of n centred vectors have a mean of -1 / (n - 1).
BACKGROUND_WEIGHT = 6
# The project that the background titles are kept under.
BACKGROUND = ""
# Titles that any team could have: what they have in common makes no two projects alike.
BACKGROUND_TITLES = (
    "Fix the crash when the page is reloaded",
    "Write the release notes",
    "Update the documentation",
    "Add a unit test for the parser",
    "Improve the performance of the search",
    "Refactor the settings module",
    "Upgrade the dependencies",
    "Set up the build server",
    "Investigate the memory leak",
    "Review the design with the customer",
    "Prepare the demo for the stakeholders",
    "Translate the user interface",
    "Plan the next release",
    "Design the new landing page",
    "Clean up old log files",
    "Add a button to export the report",
    "Send an e-mail when an order is late",
    "Migrate the database to the new version",
    "Show an error if the password is wrong",
    "Interview three users about the onboarding",
    "Write a marketing text for the launch",
    "Order new hardware for the office",
    "Train the support team",
    "Fix the layout on small screens",
    "Support another file format",
    "Add an option to the command line",
    "Monitor the servers",
    "Document the API",
    "Validate the input of the form",
    "Clarify the requirements with the product owner",
    "Make the installation easier",
    "Speed up the start",
    "Remove unused code",
    "Create an invoice as a PDF",
    "Check the contract with the supplier",
    "Log more details of failed requests",
    "Test the backup",
    "Give users different permissions",
    "Let people sign in with another account",
    "Rename the menu entries",
)


@dataclass(frozen=True, slots=True)
class SampledTitle:
    """The title of a task, and its place in the sample; `task_version` is the backlog's count of its changes."""

    task_id: str
    project_id: str
    sample_key: int
    title: str
    task_version: int


def sample_key(task_id: str) -> int:
    """A task's place among all: 64 bits of a hash.

    The tasks with the least keys are a random sample of all that were ever told of, the same in whatever order and
    however often they are told (bottom-k sketch: Cohen & Kaplan, Summarizing data using bottom-k sketches, PODC 2007).
    """
    return int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:8], signed=True)


def background() -> list[SampledTitle]:
    """The background titles, as if tasks of a project of their own."""
    return [SampledTitle(f"background-{n}", BACKGROUND, n, title, 1) for n, title in enumerate(BACKGROUND_TITLES)]
