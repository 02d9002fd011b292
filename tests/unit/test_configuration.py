"""The documentation of the settings is what the settings say."""

from scripts.configuration import DOCUMENT, document


def test_the_table_of_settings_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document(text) == text, "run `make docs`"


def test_secrets_are_marked_and_ranges_are_told() -> None:
    lines = document(DOCUMENT.read_text(encoding="utf-8")).splitlines()
    [url] = [line for line in lines if line.startswith("| `DSM_DATABASE_URL`")]
    assert "**Secret.**" in url
    assert "must be set" in url
    [port] = [line for line in lines if line.startswith("| `DSM_PORT`")]
    assert "integer from 0 to 65535 | `7600`" in port
