-- The oracle of every test that walks: ORDER BY over the whole relation.

-- Walks a relation by pages forwards, by pages backwards, by chunks(), by
-- next_chunk() and by the chunks' predicates, and compares each with ORDER BY
-- order_by, which must be a total order.  Returns "N rows", or what differs.
CREATE FUNCTION pg_temp.walk(relation regclass, order_by text, key text DEFAULT NULL,
							 size int DEFAULT 2, filter text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	matching text := '(' || coalesce(filter, 'TRUE') || E'\n)';
	whole text[];
	done text[] := '{}';
	rows text[];
	place jsonb;
	last jsonb;
	ends record;
	chunk chunked.chunk;
	step chunked.chunk;
	mark jsonb;
	chunks int := 0;
BEGIN
	EXECUTE format('SELECT coalesce(array_agg(walked::text ORDER BY %s), ''{}'') FROM %s walked WHERE %s',
				   order_by, relation, matching) INTO whole;

	-- pages forwards
	LOOP
		EXECUTE format('SELECT array_agg(walked::text), (array_agg(chunked.position_of(walked, $3)))[count(*)]
						FROM chunked.page(NULL::%s, $1, $2, key => $3, filter => $4) walked', relation)
			INTO rows, place USING size, last, key, filter;
		EXIT WHEN rows IS NULL OR cardinality(done) > cardinality(whole);
		done := done || rows;
		last := place;
	END LOOP;
	IF done <> whole THEN
		RETURN 'pages: ' || done::text || ' is not ' || whole::text;
	END IF;

	-- bounds
	SELECT * INTO ends FROM chunked.bounds(relation, key, filter);
	IF ends.last IS DISTINCT FROM last THEN
		RETURN 'bounds: ' || ends::text || ' does not end at ' || last::text;
	END IF;
	IF cardinality(whole) > 0 THEN
		EXECUTE format('SELECT array_agg(walked::text) FROM chunked.page(NULL::%s, $1, upto => $2, key => $3, filter => $4) walked', relation)
			INTO rows USING size, ends.first, key, filter;
		IF rows <> whole[1:1] THEN
			RETURN 'upto first: ' || rows::text || ' is not ' || whole[1];
		END IF;
	END IF;

	-- pages backwards, from the end
	done := '{}';
	place := '{}';
	WHILE place IS NOT NULL AND cardinality(done) <= cardinality(whole) LOOP
		EXECUTE format('SELECT coalesce(array_agg(walked::text), ''{}''), (array_agg(chunked.position_of(walked, $3)))[1]
						FROM chunked.page(NULL::%s, $1, before => $2, key => $3, filter => $4) walked', relation)
			INTO rows, place USING size, place, key, filter;
		done := rows || done;
	END LOOP;
	IF done <> whole THEN
		RETURN 'pages backwards: ' || done::text || ' is not ' || whole::text;
	END IF;

	-- chunks, each step also by next_chunk(), and their predicates
	done := '{}';
	FOR chunk IN SELECT * FROM chunked.chunks(relation, size, key => key, filter => filter) LOOP
		chunks := chunks + 1;
		SELECT * INTO step FROM chunked.next_chunk(relation, size, mark, key => key, filter => filter);
		EXECUTE format('SELECT coalesce(array_agg(walked::text ORDER BY %s), ''{}'') FROM %s walked WHERE (%s) AND %s',
					   order_by, relation, chunk.predicate, matching) INTO rows;
		IF chunk.number <> chunks OR chunk.relation <> relation OR
			chunk.after IS DISTINCT FROM mark OR chunk.row_count <> cardinality(rows) THEN
			RETURN 'chunk: ' || chunk::text || ' holds ' || rows::text;
		END IF;
		step.number := chunk.number;
		IF step IS DISTINCT FROM chunk THEN
			RETURN 'next_chunk: ' || step::text || ' is not ' || chunk::text;
		END IF;
		done := done || rows;
		mark := chunk.upto;
		EXIT WHEN cardinality(done) > cardinality(whole) OR chunks > cardinality(whole);
	END LOOP;
	IF done <> whole THEN
		RETURN 'predicates: ' || done::text || ' is not ' || whole::text;
	END IF;
	IF mark IS DISTINCT FROM last AND filter IS NULL THEN
		RETURN 'chunks end at ' || mark::text || ', not ' || last::text;
	END IF;
	RETURN cardinality(whole) || ' rows in ' || chunks || ' chunks';
END
$$;
