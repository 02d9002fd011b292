"""Embeddings: vectors, percentiles, and how waiting requests share batches."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.embedding.backends.local import BATCH, LocalBackend
from services.embedding.backends.ollama import OllamaBackend
from services.embedding.domain import DIMENSIONS, check_text, percentile, unit
from services.kit.errors import InvalidArgument

numbers = st.floats(min_value=-100, max_value=100, allow_nan=False).filter(
    lambda value: value == 0 or abs(value) > 1e-6
)


@given(st.lists(numbers, min_size=1, max_size=64).filter(any))
def test_a_vector_has_unit_length_and_1024_dimensions(native: list[float]) -> None:
    vector = unit(native)
    assert len(vector) == DIMENSIONS
    assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-9)
    assert not any(vector[len(native) :])


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=64))
def test_padding_leaves_the_cosine_as_it_is(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    if not any(a) or not any(b):
        return
    cosine = _dot(a, b) / (math.hypot(*a) * math.hypot(*b))
    assert math.isclose(_dot(unit(a), unit(b)), cosine, abs_tol=1e-9)


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("native", [[0.0, 0.0], [math.nan, 1.0], [math.inf], [1.0] * (DIMENSIONS + 1)])
def test_what_has_no_direction_is_no_vector(native: list[float]) -> None:
    with pytest.raises(ValueError, match="vector"):
        unit(native)


@pytest.mark.parametrize("text", [" ", "\n\t", "\u3000\u00a0"])
def test_blank_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        check_text(text, "text")


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.95, None), ([7.0], 0.95, 7.0), ([float(n) for n in range(1, 101)], 0.95, 95.0), ([3.0, 1.0], 0.5, 1.0)],
)
def test_percentiles_are_by_nearest_rank(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize(
    ("given_name", "model"),
    [
        ("mxbai-embed-large", "mxbai-embed-large:latest"),
        ("mxbai-embed-large:v1", "mxbai-embed-large:v1"),
        ("host:5000/team/model", "host:5000/team/model:latest"),
    ],
)
def test_a_model_is_named_with_its_tag(given_name: str, model: str) -> None:
    backend = OllamaBackend("http://127.0.0.1:1", given_name, timeout=1, failures=1, reset_seconds=1, successes=1)
    assert backend.model == model


async def test_waiting_requests_share_batches_in_turn() -> None:
    batches: list[list[str]] = []

    def infer(texts: list[str]) -> list[list[float]]:
        batches.append(texts)
        return [[float(len(text))] for text in texts]

    backend = LocalBackend(lambda: infer)
    large = ["x" * length for length in range(1, 41)]
    answers = await asyncio.gather(backend.embed(large), *(backend.embed([name]) for name in ("aa", "bbb")))
    await backend.close()

    assert answers == [[[float(n)] for n in range(1, 41)], [[2.0]], [[3.0]]]
    assert {"aa", "bbb"} <= set(batches[0])
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 10]


async def test_a_failed_batch_fails_its_requests_and_no_others() -> None:
    def infer(texts: list[str]) -> list[list[float]]:
        if "bad" in texts:
            raise RuntimeError("bad")
        return [[1.0] for _ in texts]

    backend = LocalBackend(lambda: infer)
    with pytest.raises(RuntimeError):
        await backend.embed(["bad"])
    assert await backend.embed(["good"]) == [[1.0]]
    await backend.close()


async def test_a_caller_who_has_gone_costs_no_work() -> None:
    seen: list[str] = []

    def infer(texts: list[str]) -> list[list[float]]:
        seen.extend(texts)
        return [[1.0] for _ in texts]

    backend = LocalBackend(lambda: infer)
    gone = asyncio.create_task(backend.embed(["gone"] * 100))
    await asyncio.sleep(0)
    gone.cancel()
    assert await backend.embed(["here"]) == [[1.0]]
    await backend.close()
    assert len(seen) < 2 * BATCH
