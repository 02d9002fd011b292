"""The embedding service: texts to unit vectors of 1,024 dimensions. It owns no table, and sends and takes no event.

What makes the vectors is a backend: `local`, a sentence model on the CPU that needs no network, or `ollama`, a server
elsewhere. Vectors of different models are never comparable, so every answer names its model.
"""
