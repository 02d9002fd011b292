"""Derives the OpenAPI 3.1 document of the HTTP/JSON mapping from the descriptor set of the contract."""
