"""The usual ways to find where chunks end, each at its best."""
from __future__ import annotations

import psycopg

from events import SCHEMA
from tables import index_of


def skip_walk(connection: psycopg.Connection, table: str, size: int) -> str:
    """
    From each chunk's last key to the next one's, as a loop in PL/pgSQL: an
    index-only scan of one chunk a step.  Names and sizes stand in the text, so
    that each statement is planned once.
    """
    step = f"OFFSET {size - 1} LIMIT 1"
    target, columns, behind, returns, variables = {
        "composite": ("customer, id INTO last_customer, last_id", "customer, id", "(customer, id) > (last_customer, last_id)",
                      "TABLE (end_customer text, end_id bigint)", "last_customer text; last_id bigint"),
        "random": ("id INTO last", "id", "id > last", "SETOF uuid", "last uuid"),
    }.get(table, ("id INTO last", "id", "id > last", "SETOF bigint", "last bigint"))
    emit = "end_customer := last_customer; end_id := last_id; RETURN NEXT" if table == "composite" else "RETURN NEXT last"
    name = f"{SCHEMA}.skip_walk_{table}_{size}"
    connection.execute(f"""
        CREATE OR REPLACE FUNCTION {name}() RETURNS {returns} LANGUAGE plpgsql STABLE AS $$
        DECLARE
            {variables};
        BEGIN
            SELECT {target} FROM {SCHEMA}.{table} ORDER BY {columns} {step};
            WHILE FOUND LOOP
                {emit};
                SELECT {target} FROM {SCHEMA}.{table} WHERE {behind} ORDER BY {columns} {step};
            END LOOP;
        END $$""")
    return f"SELECT count(*) FROM {name}()"


def row_number(table: str, size: int) -> str:
    return (f"SELECT count(id) FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM {SCHEMA}.{table}) AS numbered"
            f" WHERE n % {size} = 0")


def ntile(table: str, parts: int) -> str:
    return (f"SELECT count(upto) FROM (SELECT max(id) AS upto FROM"
            f" (SELECT id, ntile({parts}) OVER (ORDER BY id) AS part FROM {SCHEMA}.{table}) AS numbered GROUP BY part) AS ends")


def leaf_pointers(table: str, entries: bool) -> str:
    return f"SELECT {SCHEMA}.leaf_pointers('{index_of(table)}', {entries})"


def install(connection: psycopg.Connection) -> None:
    for signature in ("leaf_pointers(regclass, boolean) RETURNS bigint", "level_pages(regclass) RETURNS bigint[]"):
        connection.execute(f"CREATE FUNCTION {SCHEMA}.{signature} AS 'leaf_pointers' LANGUAGE C STRICT")
