"""
What another session does to the relations meanwhile, from a seed alone.
"""
from __future__ import annotations

from random import Random

from relations import Relation


class Changes:
    def __init__(self, r: Random, relations: list[Relation]):
        self.r, self.relations = r, relations
        self.after: list[str] = []  # what undoes the last change, or makes again what it took away

    def statement(self) -> str:
        if self.after:
            return self.after.pop(0)
        relation = self.r.choice(self.relations)
        change = self.r.choice([self.again, self.again, self.columns, self.columns, self.rows, self.rows, self.rows, self.indexes, self.indexes, self.partitions, self.names,
                                self.maintenance, self.objects, self.jobs])
        return change(relation)

    def again(self, relation: Relation) -> str:
        drop = f"DROP {relation.drop} IF EXISTS {relation.name} CASCADE"
        # what depended on it went with it
        self.after = [other.make for other in self.relations if other.drop != "TABLE" and other is not relation]
        if self.r.random() < 0.5:
            return f"BEGIN; {drop}; {relation.make} COMMIT"
        self.after.insert(0, relation.make)
        return drop

    def columns(self, relation: Relation) -> str:
        name = relation.name
        column = self.r.choice(list(relation.columns) or ["id"])
        key = next(iter(relation.columns), "id")
        if self.r.random() < 0.3:
            self.after = [f"ALTER TABLE {name} RENAME COLUMN renamed TO {column}"]
            return f"ALTER TABLE {name} RENAME COLUMN {column} TO renamed"
        return f"ALTER TABLE {name} " + self.r.choice([
            "ADD COLUMN IF NOT EXISTS added int", "ADD COLUMN IF NOT EXISTS added text DEFAULT 'd' NOT NULL", "ADD COLUMN IF NOT EXISTS added numeric DEFAULT random()",
            "DROP COLUMN IF EXISTS added", "DROP COLUMN IF EXISTS by_filter", f"DROP COLUMN IF EXISTS {column} CASCADE", f"ALTER {column} DROP NOT NULL", f"ALTER {column} SET NOT NULL",
            f"ALTER {column} TYPE text", f"ALTER {column} TYPE bigint USING 1", f"ALTER {column} SET STATISTICS 0", f"ALTER {key} TYPE numeric USING {key}::text::numeric"])

    def rows(self, relation: Relation) -> str:
        name = relation.name
        column = next(iter(relation.columns), "id")
        return self.r.choice([f"TRUNCATE {name} CASCADE", f"DELETE FROM {name} WHERE random() < 0.3", f"UPDATE {name} SET {column} = {column}", f"DELETE FROM {name}",
                              f"INSERT INTO {name} SELECT * FROM {name} ON CONFLICT DO NOTHING", f"BEGIN; DELETE FROM {name}; SELECT pg_sleep(0.05); ROLLBACK",
                              f"BEGIN; LOCK {name}; SELECT pg_sleep(0.02); COMMIT", f"ANALYZE {name}"])

    def indexes(self, relation: Relation) -> str:
        name = relation.name
        columns = ", ".join(self.r.sample(list(relation.columns), min(len(relation.columns), self.r.randint(1, 3))))
        plain = name.removeprefix("hostile.")
        return self.r.choice([f"REINDEX TABLE {name}", f"REINDEX TABLE CONCURRENTLY {name}", f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS hostile_new ON {name} ({columns})",
                              "DROP INDEX CONCURRENTLY IF EXISTS hostile.hostile_new", "DROP INDEX IF EXISTS hostile.hostile_new",
                              f"CREATE INDEX IF NOT EXISTS hostile_more ON {name} ({columns or 'id'} DESC NULLS LAST)", "DROP INDEX IF EXISTS hostile.hostile_more",
                              f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {plain}_pkey", f"ALTER TABLE {name} ADD PRIMARY KEY ({columns})", f"CLUSTER {name}"])

    def partitions(self, _: Relation) -> str:
        bounds = {"parts_1": "FOR VALUES FROM (MINVALUE) TO (500)", "parts_3": "DEFAULT", "parts_2": "FOR VALUES FROM (500) TO (1000)"}
        name, bound = self.r.choice(list(bounds.items()))
        self.after = [f"ALTER TABLE hostile.parts ATTACH PARTITION hostile.{name} {bound}"]
        return self.r.choice([f"ALTER TABLE hostile.parts DETACH PARTITION hostile.{name}", f"ALTER TABLE hostile.parts DETACH PARTITION hostile.{name} CONCURRENTLY",
                              f"TRUNCATE hostile.{name}", "ALTER TABLE hostile.child NO INHERIT hostile.parent; ALTER TABLE hostile.child INHERIT hostile.parent"])

    def names(self, relation: Relation) -> str:
        if self.r.random() < 0.5:
            other = self.r.choice(self.relations)
            return (f"BEGIN; ALTER TABLE {relation.name} RENAME TO swapped; ALTER TABLE {other.name} RENAME TO {relation.name.removeprefix('hostile.')};"
                    f" ALTER TABLE hostile.swapped RENAME TO {other.name.removeprefix('hostile.')}; SELECT pg_sleep(0.02); {self.r.choice(('COMMIT', 'ROLLBACK', 'ROLLBACK'))}")
        self.after = [f"ALTER TABLE hostile.renamed RENAME TO {relation.name.removeprefix('hostile.')}"]
        return f"ALTER TABLE {relation.name} RENAME TO renamed"

    def maintenance(self, relation: Relation) -> str:
        return self.r.choice([f"VACUUM {relation.name}", f"VACUUM (FULL) {relation.name}", f"VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) {relation.name}", "REFRESH MATERIALIZED VIEW hostile.stored",
                              "REFRESH MATERIALIZED VIEW CONCURRENTLY hostile.stored", f"ALTER TABLE {relation.name} SET UNLOGGED", f"ALTER TABLE {relation.name} SET LOGGED", "CHECKPOINT"])

    def objects(self, relation: Relation) -> str:
        return self.r.choice(["CREATE OR REPLACE FUNCTION hostile.replaced(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1 + 1'",
                              "CREATE OR REPLACE FUNCTION hostile.replaced(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1 / ($1 - 500)'",
                              "ALTER DOMAIN hostile.small DROP CONSTRAINT IF EXISTS more", "ALTER DOMAIN hostile.small ADD CONSTRAINT more CHECK (VALUE <> 100) NOT VALID",
                              "ALTER TYPE hostile.pair ADD ATTRIBUTE z int CASCADE", "ALTER TYPE hostile.pair DROP ATTRIBUTE IF EXISTS z CASCADE",
                              "ALTER TYPE hostile.mood ADD VALUE IF NOT EXISTS 'odd' BEFORE 'sad'", f"ALTER TABLE {relation.name} ENABLE ROW LEVEL SECURITY",
                              f"ALTER TABLE {relation.name} DISABLE ROW LEVEL SECURITY", f"REVOKE ALL ON {relation.name} FROM hostile_user", f"GRANT ALL ON {relation.name} TO hostile_user",
                              f"ALTER TABLE {relation.name} OWNER TO hostile_user", "CREATE STATISTICS IF NOT EXISTS hostile.more ON id, v FROM hostile.ints"])

    def jobs(self, _: Relation) -> str:
        return self.r.choice(["SELECT chunked.cancel_job(name) FROM chunked.jobs WHERE owner = current_role::regrole", "SELECT chunked.drop_jobs('0')",
                              "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.3",
                              "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type NOT LIKE '%client%' AND datname = current_database() AND backend_type LIKE 'pg_chunked%'",
                              "UPDATE chunked.ledger_chunks SET lease_until = now() WHERE lease_until IS NOT NULL AND random() < 0.5"])
