-- A database for each service that has one. pgvector needs a superuser, the migrations do not.
CREATE DATABASE dsm_project;
CREATE DATABASE dsm_backlog;
CREATE DATABASE dsm_sprint;
CREATE DATABASE dsm_chronicle;
CREATE DATABASE dsm_orchestrator;
\connect dsm_chronicle
CREATE EXTENSION IF NOT EXISTS vector;
\connect dsm_orchestrator
CREATE EXTENSION IF NOT EXISTS vector;
