-- A stand-in for what merges ask of Citus: its catalog and two of its functions, which note how they are called. Tables
-- stay ordinary ones. To be included in a transaction that is rolled back.
SET LOCAL allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text, colocationid int, repmodel "char");
CREATE TABLE pg_catalog.citus_calls (n serial, call text);
CREATE FUNCTION pg_catalog.column_to_column_name(table_name regclass, column_var_text text) RETURNS text LANGUAGE sql AS 'SELECT $2';
CREATE FUNCTION pg_catalog.create_distributed_table(table_name regclass, distribution_column text, distribution_type text DEFAULT 'hash',
  colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  colocation int := 7;
  staged bigint;
BEGIN
  IF colocate_with <> 'default' THEN
    SELECT colocationid INTO STRICT colocation FROM pg_catalog.pg_dist_partition WHERE logicalrelid = colocate_with::regclass;
  END IF;
  EXECUTE format('SELECT count(*) FROM %s', table_name) INTO staged;
  RAISE NOTICE 'Copying data from local table...';
  INSERT INTO pg_catalog.citus_calls (call) VALUES (format('%s by %s, colocated with %s: %s rows, persistence %s',
    regexp_replace(table_name::text, '\d+$', 'N'), distribution_column, colocate_with, staged,
    (SELECT relpersistence FROM pg_class WHERE oid = table_name)));
  INSERT INTO pg_catalog.pg_dist_partition VALUES (table_name, 'h', distribution_column, colocation, 's');
END $$;
RESET allow_system_table_mods;
