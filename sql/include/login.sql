\set ECHO none
-- Logs on as :role, with the search_path :path.  (A superuser's session, whatever
-- role it has set, does not run another role's job.)
\connect - :role
\i :srcdir/sql/include/failure.sql
SET client_min_messages = warning;
SET search_path = :path;
\set ECHO all
