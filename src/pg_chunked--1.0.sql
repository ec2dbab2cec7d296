\echo Use "CREATE EXTENSION pg_chunked" to load this file. \quit

GRANT USAGE ON SCHEMA chunked TO PUBLIC;
