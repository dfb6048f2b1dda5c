-- The extension can be created, dropped and created again, and leaves no wrapper behind.
SELECT extversion FROM pg_extension WHERE extname = 'datamill';
DROP EXTENSION datamill;
SELECT count(*) AS left_behind FROM pg_foreign_data_wrapper WHERE fdwname LIKE 'datamill%';
CREATE EXTENSION datamill;
