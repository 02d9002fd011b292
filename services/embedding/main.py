"""Puts the embedding service together."""

from dsm.embedding.v1 import embedding_service_pb2
from dsm.embedding.v1.embedding_service_pb2_grpc import add_EmbeddingServiceServicer_to_server
from pydantic import Field

from services.embedding.backends import Backend
from services.embedding.domain import BackendKind
from services.embedding.handlers import EmbeddingHandlers
from services.kit.service import Service
from services.kit.settings import ServiceSettings

NAME = "embedding"


class EmbeddingSettings(ServiceSettings):
    """Settings of the embedding service."""

    backend: BackendKind = Field(default=BackendKind.LOCAL, description="What makes the vectors: local or ollama.")
    ollama_url: str = Field(default="http://127.0.0.1:11434", description="Where the Ollama server answers.")
    ollama_model: str = Field(default="mxbai-embed-large", min_length=1, description="Model that Ollama embeds with.")
    # Below the 5 s that the orchestrator waits, so that the breaker learns of a server that hangs.
    ollama_timeout_seconds: float = Field(default=4, gt=0, description="Longest wait for one batch of texts.")


SETTINGS = EmbeddingSettings


class EmbeddingService(Service):
    """The service with its backend, which it closes when it stops."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        super().__init__(NAME, settings)
        self._backend = choose_backend(settings)
        handlers = EmbeddingHandlers(self._backend)
        self.describers.append(handlers.describe)
        self.serve(
            embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"],
            add_EmbeddingServiceServicer_to_server,
            handlers,
        )

    async def stop(self) -> None:
        """Stop, then let go of the backend."""
        await super().stop()
        await self._backend.close()


def build(settings: EmbeddingSettings) -> EmbeddingService:
    """The service, not started."""
    return EmbeddingService(settings)


def choose_backend(settings: EmbeddingSettings) -> Backend:
    """The backend that the settings name; the other's libraries are not even imported."""
    if settings.backend is BackendKind.OLLAMA:
        from services.embedding.backends.ollama import OllamaBackend

        return OllamaBackend(
            settings.ollama_url,
            settings.ollama_model,
            timeout=settings.ollama_timeout_seconds,
            failures=settings.breaker_failures,
            reset_seconds=settings.breaker_reset_seconds,
            successes=settings.breaker_successes,
        )
    from services.embedding.backends.local import LocalBackend

    return LocalBackend()
