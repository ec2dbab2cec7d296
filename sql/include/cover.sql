-- What chunks are for: every row lies in exactly one of them.

-- Checks the chunks of a relation that a call gives ("chunked.split('t', 2)"):
-- numbers and ends follow each other; each matching row that is within is in one
-- chunk, by predicate and, by a key, by page(); and the rows counted are there.
-- Asked with direct reads and without: if exact, the chunks are the same.
-- Returns how many chunks of what sizes, or what is wrong.
CREATE FUNCTION pg_temp.cover(relation regclass, call text, key text DEFAULT NULL, exact boolean DEFAULT true,
							  filter text DEFAULT 'TRUE', within text DEFAULT 'TRUE', alias text DEFAULT 't') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	native text;
	chunk chunked.chunk;
	chunks text[];
	first_chunks text[];
	mark jsonb;
	-- a set of rows by its size and the sum of its rows' hashes
	rows numeric[];
	paged numeric[];
	done numeric[];
	whole numeric[];
	sizes numeric[];
	physical boolean := coalesce(key = 'ctid', false);
	summary text := 'SELECT ARRAY[count(*), coalesce(sum(hashtextextended(%1$s::text, 0)), 0)] FROM ';
BEGIN
	EXECUTE format(summary || '%2$s %1$s WHERE (%3$s) AND (%4$s)', alias, relation, filter, within) INTO whole;
	FOREACH native IN ARRAY '{on,off}'::text[] LOOP
		PERFORM set_config('pg_chunked.native', native, true);
		chunks := '{}';
		done := '{0,0}';
		sizes := '{}';
		FOR chunk IN EXECUTE 'SELECT * FROM ' || call LOOP
			chunks := chunks || chunk::text;
			IF chunk.number <> cardinality(chunks) OR
				(NOT physical AND (chunk.relation <> relation OR (chunk.number > 1 AND chunk.after IS DISTINCT FROM mark))) THEN
				RETURN format('native %s: %s does not follow %s', native, chunk, mark);
			END IF;
			mark := chunk.upto;
			EXECUTE format(summary || '%2$s %1$s WHERE (%3$s) AND (%4$s)', alias, chunk.relation, chunk.predicate, filter) INTO rows;
			IF NOT physical THEN
				EXECUTE format(summary || 'chunked.page(NULL::%2$s, 1000000, $1, $2, key => $3, filter => $4) %1$s', alias, relation)
					INTO paged USING chunk.after, chunk.upto, key, filter;
				IF paged <> rows THEN
					RETURN format('native %s: %s has %s rows by predicate, %s by page()', native, chunk, rows[1], paged[1]);
				END IF;
			END IF;
			IF exact AND chunk.row_count <> rows[1] THEN
				RETURN format('native %s: %s has %s rows', native, chunk, rows[1]);
			END IF;
			done := ARRAY[done[1] + rows[1], done[2] + rows[2]];
			sizes := sizes || rows[1];
		END LOOP;
		IF done <> whole THEN
			RETURN format('native %s: %s rows in %s chunks, of %s', native, done[1], cardinality(chunks), whole[1]);
		END IF;
		IF native = 'on' THEN
			first_chunks := chunks;
		ELSIF (exact OR physical) AND chunks IS DISTINCT FROM first_chunks THEN
			RETURN format('%s without direct reads, %s with', chunks, first_chunks);
		END IF;
	END LOOP;
	PERFORM set_config('pg_chunked.native', 'on', true);
	RETURN format('%s rows in %s chunks', whole[1], cardinality(first_chunks)) ||
		CASE WHEN exact AND cardinality(sizes) > 0 THEN (SELECT format(' of %s to %s', min(s), max(s)) FROM unnest(sizes) s) ELSE '' END;
END
$$;
