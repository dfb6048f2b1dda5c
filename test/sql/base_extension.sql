-- The extension can be created, dropped and created again, and leaves nothing behind.
SELECT extversion FROM pg_extension WHERE extname = 'datamill';
DROP EXTENSION datamill;
SELECT count(*) AS left_behind FROM pg_foreign_data_wrapper WHERE fdwname LIKE 'datamill%';
SELECT count(*) AS left_behind FROM pg_namespace WHERE nspname = 'datamill';
-- A schema that somebody made before would be theirs to put objects into: it is not taken.
CREATE SCHEMA datamill;
CREATE EXTENSION datamill;
DROP SCHEMA datamill;
CREATE EXTENSION datamill;
-- All objects lie in that schema.
SELECT pg_describe_object(classid, objid, objsubid) AS outside
FROM pg_depend d
WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'datamill') AND deptype = 'e'
  AND (pg_identify_object(classid, objid, objsubid)).schema <> 'datamill'
ORDER BY 1;
