-- For every test that provokes errors; temporary, so that nothing stays behind.

-- How a statement fails: SQLSTATE, message, hint.  For the extension's own
-- errors, whose words are the same on every major.
CREATE FUNCTION pg_temp.failure(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE,
		message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' ', state, message, '| ' || NULLIF(hint, ''));
END
$$;

-- The same for the server's errors: their words change, their SQLSTATEs do not.
CREATE FUNCTION pg_temp.state(statement text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
