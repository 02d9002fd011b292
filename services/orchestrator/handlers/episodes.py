"""Episodes: listed, searched by meaning, and embedded."""

from dsm.orchestrator.v1 import episode_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from services.kit.data.paging import page_of
from services.kit.errors import InvalidArgument
from services.kit.serving.gate import Context
from services.orchestrator.convert import answers, requests
from services.orchestrator.handlers.room import Room
from services.orchestrator.memory import RECALLED
from services.orchestrator.store import episodes
from services.orchestrator.store.episodes import EpisodeFilter


class EpisodeHandlers(Room):
    """ListEpisodes, SearchEpisodes and EmbedEpisodes."""

    async def ListEpisodes(self, request: pb.ListEpisodesRequest, context: Context) -> pb.ListEpisodesResponse:
        """Episodes, newest first."""
        wanted = EpisodeFilter(
            project_id=request.project_id,
            episode_id=requests.to_id(request.episode_id),
            with_outcome_only=request.with_outcome_only,
            retrievable_only=request.retrievable_only,
        )
        found, token = await episodes.page_of_episodes(self.db.read, wanted, page_of(request))
        return pb.ListEpisodesResponse(episodes=map(answers.from_episode, found), next_page_token=token)

    async def SearchEpisodes(self, request: pb.SearchEpisodesRequest, context: Context) -> pb.SearchEpisodesResponse:
        """The episodes whose situation is most like a text."""
        if not request.query.strip():
            raise InvalidArgument("query", "must not be blank", request.query)
        wanted = EpisodeFilter(project_id=request.project_id, with_outcome_only=request.with_outcome_only)
        least = request.minimum_similarity if request.HasField("minimum_similarity") else 0.0
        limit = request.max_results or RECALLED
        matches, model = await self.memory.search(request.query, wanted, limit, least)
        found = [
            episode_pb2.EpisodeMatch(episode=answers.from_episode(match.episode), similarity=match.likeness)
            for match in matches
        ]
        return pb.SearchEpisodesResponse(matches=found, embedding_model=model)

    async def EmbedEpisodes(self, request: pb.EmbedEpisodesRequest, context: Context) -> pb.EmbedEpisodesResponse:
        """A batch of the episodes that wait for their embedding."""
        return await self.memory.embed_waiting(request.max_episodes)
