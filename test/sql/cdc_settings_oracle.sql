-- Random datasets with random settings, merged with random batches, against an oracle in plain SQL and PL/pgSQL that keeps one
-- table of versions: after each merge and each undo the versions, counts, stamps and previous values are the oracle's.
SET client_min_messages = warning;
CREATE SCHEMA cdc_so;
CREATE TABLE cdc_so.batch (k1 int, k2 text, a int, b text, c numeric, d text, seq int);
CREATE TABLE cdc_so.o (k1 int, k2 text, vals jsonb, prev jsonb, op text, start date, stop date, ended text, made int, endm int, stamp text);
CREATE TABLE cdc_so.saved (LIKE cdc_so.o);

CREATE FUNCTION cdc_so.settings(OUT roles jsonb, OUT options jsonb) LANGUAGE plpgsql AS $$
DECLARE
  col text;
  kinds jsonb := '{}';
  sensitive jsonb := '[]';
  untracked jsonb := '[]';
BEGIN
  roles := '{}';
  options := '{}';
  FOREACH col IN ARRAY '{a,b,c,d,seq}'::text[] LOOP
    roles := roles || jsonb_build_object(col, (ARRAY['tracked', 'tracked', 'tracked', 'tracked', 'untracked', 'keep', 'previous'])[1 + (random() * 6.99)::int % 7]);
    IF roles->>col = 'untracked' AND random() < 0.5 THEN untracked := untracked || to_jsonb(col);
    ELSIF roles->>col <> 'tracked' OR random() < 0.1 THEN
      kinds := kinds || jsonb_build_object(col, array_position('{keep,untracked,tracked,previous}', roles->>col) - 1);
    END IF;
    IF random() < 0.2 THEN sensitive := sensitive || to_jsonb(col); END IF;
  END LOOP;
  IF kinds <> '{}' THEN options := options || jsonb_build_object('kinds', kinds); END IF;
  IF untracked <> '[]' THEN options := options || jsonb_build_object('untracked', untracked); END IF;
  IF sensitive <> '[]' THEN options := options || jsonb_build_object('sensitive', sensitive); END IF;
  IF random() < 0.4 THEN options := options || '{"names": {"operation": "OP", "eff_start_date": "valid_from", "eff_end_date": "valid to", "merge_id": "run", "made_by": "mb", "row_hash": "rh"}}'; END IF;
  IF random() < 0.3 THEN options := options || '{"null_keys": "allow"}'; END IF;
  IF random() < 0.3 THEN options := options || '{"duplicates": "last", "sequence_column": "seq"}'; END IF;
  IF random() < 0.3 THEN options := options || '{"stamp_operation": true}'; END IF;
  IF random() < 0.4 THEN options := options || jsonb_build_object('history_partition', (ARRAY['month', 'year'])[1 + (random() * 1.99)::int % 2]); END IF;
  IF random() < 0.3 THEN options := options || jsonb_build_object('history_index', (ARRAY['key', 'time', 'both'])[1 + (random() * 2.99)::int % 3]); END IF;
  IF random() < 0.3 THEN options := options || '{"deletes": "ignore"}'; END IF;
  options := options || '{"on_missing_column": "ignore", "on_new_column": "ignore"}';
END
$$;

CREATE FUNCTION cdc_so.fill(share float8, options jsonb) RETURNS void LANGUAGE sql AS $$
  TRUNCATE cdc_so.batch;
  INSERT INTO cdc_so.batch
  SELECT CASE WHEN options ? 'null_keys' AND i % 7 = 0 THEN NULL ELSE i % 5 END, 'k' || i, (random() * 2)::int, (ARRAY['x', NULL, ''])[1 + (random() * 2)::int],
    (ARRAY[1.0, 1.00, 2, NULL])[1 + (random() * 3)::int], (ARRAY['p', 'q'])[1 + random()::int], s
  FROM generate_series(1, 40) i, generate_series(1, CASE WHEN options ? 'duplicates' AND random() < 0.3 THEN 2 ELSE 1 END) s
  WHERE random() < share ORDER BY random()
$$;

-- what a merge of the batch (without the columns of absent) does to the oracle's versions
CREATE FUNCTION cdc_so.apply(merge int, day date, mode text, roles jsonb, options jsonb, absent text[], OUT i int, OUT u int, OUT d int, OUT n int, OUT x int) LANGUAGE plpgsql AS $$
DECLARE
  r record;
  v cdc_so.o;
  col text;
  new jsonb;
  was jsonb;
  is_changed boolean;
BEGIN
  SELECT 0, 0, 0, 0, 0 INTO i, u, d, n, x;
  FOR r IN SELECT DISTINCT ON (k1, k2) k1, k2, to_jsonb(w) - 'k1' - 'k2' AS vals FROM cdc_so.batch w ORDER BY k1, k2, seq DESC LOOP
    SELECT * INTO v FROM cdc_so.o WHERE k1 IS NOT DISTINCT FROM r.k1 AND k2 = r.k2 AND stop IS NULL;
    new := r.vals;
    is_changed := false;
    FOREACH col IN ARRAY absent LOOP new := new || jsonb_build_object(col, v.vals->col); END LOOP;
    IF v.k2 IS NULL THEN
      INSERT INTO cdc_so.o VALUES (r.k1, r.k2, new, '{}', 'I', day, NULL, NULL, merge, NULL, 'I');
      i := i + 1;
      CONTINUE;
    END IF;
    was := v.prev;
    FOR col IN SELECT jsonb_object_keys(roles) LOOP
      IF roles->>col = 'keep' THEN new := new || jsonb_build_object(col, v.vals->col);
      ELSIF new->col IS DISTINCT FROM v.vals->col THEN
        IF roles->>col = 'tracked' THEN is_changed := true; END IF;
        IF roles->>col = 'previous' THEN was := was || jsonb_build_object(col, v.vals->col); END IF;
      END IF;
    END LOOP;
    IF is_changed THEN
      UPDATE cdc_so.o SET stop = day, ended = 'U', endm = merge WHERE k1 IS NOT DISTINCT FROM r.k1 AND k2 = r.k2 AND stop IS NULL;
      INSERT INTO cdc_so.o VALUES (r.k1, r.k2, new, was, 'U', day, NULL, NULL, merge, NULL, 'U');
      u := u + 1;
    ELSE
      UPDATE cdc_so.o SET vals = new, prev = was, stamp = 'N' WHERE k1 IS NOT DISTINCT FROM r.k1 AND k2 = r.k2 AND stop IS NULL;
      n := n + 1;
    END IF;
  END LOOP;
  IF mode = 'full' AND NOT options @> '{"deletes": "ignore"}' THEN
    UPDATE cdc_so.o SET stop = day, ended = 'D', endm = merge
    WHERE stop IS NULL AND NOT EXISTS (SELECT FROM cdc_so.batch b WHERE b.k1 IS NOT DISTINCT FROM o.k1 AND b.k2 = o.k2);
    GET DIAGNOSTICS d = ROW_COUNT;
  ELSE
    UPDATE cdc_so.o SET stamp = 'X'
    WHERE stop IS NULL AND NOT EXISTS (SELECT FROM cdc_so.batch b WHERE b.k1 IS NOT DISTINCT FROM o.k1 AND b.k2 = o.k2);
    GET DIAGNOSTICS x = ROW_COUNT;
  END IF;
END
$$;

-- how many versions differ between dataset and oracle
CREATE FUNCTION cdc_so.differing(roles jsonb, options jsonb, stamped boolean) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  result bigint;
  previous text := coalesce((SELECT string_agg(format('%L, previous_%s', key, key), ', ') FROM jsonb_each_text(roles) WHERE value = 'previous'), '');
  view text := CASE WHEN options ? 'sensitive' THEN 't_sensitive_versions' ELSE 't_versions' END;
  n jsonb := coalesce(options->'names', '{}');
BEGIN
  EXECUTE format($q$SELECT count(*) FROM (SELECT k1, k2, jsonb_build_object('a', a, 'b', b, 'c', c, 'd', d, 'seq', seq) AS vals, jsonb_strip_nulls(jsonb_build_object(%s)) AS prev,
      %I::text AS op, %I AS start, %I AS stop FROM cdc_so.%I) v FULL JOIN cdc_so.o ON (v.k1, v.k2, v.start, coalesce(v.stop, 'infinity'))::record = (o.k1, o.k2, o.start, coalesce(o.stop, 'infinity'))::record
      AND v.vals = o.vals AND v.prev = jsonb_strip_nulls(o.prev) AND v.op = o.op WHERE v.k2 IS NULL OR o.k2 IS NULL$q$,
    previous, coalesce(n->>'operation', 'operation'), coalesce(n->>'eff_start_date', 'eff_start_date'), coalesce(n->>'eff_end_date', 'eff_end_date'), view) INTO result;
  IF stamped THEN
    EXECUTE format('SELECT $1 + count(*) FROM cdc_so.t JOIN cdc_so.o ON (t.k1, t.k2)::record = (o.k1, o.k2)::record AND o.stop IS NULL AND t.%I::text <> o.stamp',
      coalesce(n->>'operation', 'operation')) USING result INTO result;
  END IF;
  RETURN result;
END
$$;

-- other roles for the columns that are not of kind 3, and stamps and indexes the other way round
CREATE FUNCTION cdc_so.alter(INOUT roles jsonb, INOUT options jsonb) LANGUAGE plpgsql AS $$
DECLARE
  col text;
  kinds jsonb := '{}';
  change jsonb;
BEGIN
  FOR col IN SELECT jsonb_object_keys(roles) LOOP
    IF roles->>col <> 'previous' THEN
      roles := roles || jsonb_build_object(col, (ARRAY['tracked', 'tracked', 'untracked', 'keep'])[1 + (random() * 3.99)::int % 4]);
    END IF;
    kinds := kinds || jsonb_build_object(col, array_position('{keep,untracked,tracked,previous}', roles->>col) - 1);
  END LOOP;
  change := jsonb_build_object('kinds', kinds, 'untracked', '[]'::jsonb, 'stamp_operation', NOT options @> '{"stamp_operation": true}', 'history_index', (ARRAY['none', 'key', 'both'])[1 + (random() * 2.99)::int % 3]);
  PERFORM datamill.alter_dataset('cdc_so.t', change);
  UPDATE cdc_so.o SET stamp = op WHERE stop IS NULL;
  options := options || change;
END
$$;

CREATE FUNCTION cdc_so.run(rounds int, OUT merges int, OUT undone int, OUT altered int, OUT wrong int, OUT unsound int) LANGUAGE plpgsql AS $$
DECLARE
  s record;
  m record;
  e record;
  day date;
  mode text;
  absent text[];
  refreshed bigint;
BEGIN
  SELECT 0, 0, 0, 0, 0 INTO merges, undone, altered, wrong, unsound;
  FOR round IN 1..rounds LOOP
    SELECT * INTO s FROM cdc_so.settings();
    TRUNCATE cdc_so.o;
    day := '2020-01-25';
    IF round % 2 = 0 THEN PERFORM datamill.create_dataset('cdc_so.t', '{k1,k2}', source => 'cdc_so.batch', options => s.options); END IF;
    FOR i IN 1..7 LOOP
      mode := CASE WHEN random() < 0.6 THEN 'full' ELSE 'delta' END;
      absent := CASE WHEN i > 1 AND random() < 0.2 THEN '{b}' ELSE '{}' END;
      PERFORM cdc_so.fill(CASE mode WHEN 'full' THEN 0.8 ELSE 0.2 END, s.options);
      IF i > 1 AND random() < 0.2 THEN
        SELECT * INTO s FROM cdc_so.alter(s.roles, s.options);
        altered := altered + 1;
        IF cdc_so.differing(s.roles, s.options, s.options @> '{"stamp_operation": true}') > 0 OR EXISTS (SELECT FROM datamill.check_dataset('cdc_so.t')) THEN
          RAISE WARNING 'after alter_dataset in round %: %', round, s.options;
          wrong := wrong + 1;
        END IF;
      END IF;
      TRUNCATE cdc_so.saved;
      INSERT INTO cdc_so.saved SELECT * FROM cdc_so.o;
      SELECT * INTO m FROM datamill.cdc_merge('cdc_so.t',
        CASE WHEN absent = '{b}' THEN 'SELECT seq, d, c, a, k2, k1, 1 AS other FROM cdc_so.batch' ELSE 'cdc_so.batch' END, '{k1,k2}', day, mode, s.options || '{"allow_empty": true}');
      SELECT * INTO e FROM cdc_so.apply(i, day, mode, s.roles, s.options, absent);
      merges := merges + 1;
      IF (m.inserted, m.updated, m.deleted, m.unchanged, m.missing) IS DISTINCT FROM (e.i::bigint, e.u::bigint, e.d::bigint, e.n::bigint, e.x::bigint)
         OR cdc_so.differing(s.roles, s.options, s.options @> '{"stamp_operation": true}') > 0 THEN
        RAISE WARNING 'merge % of round % is wrong: % (expected %), %', i, round, m, e, s.options;
        wrong := wrong + 1;
      END IF;
      IF EXISTS (SELECT FROM datamill.check_dataset('cdc_so.t')) THEN unsound := unsound + 1; END IF;
      SELECT l.refreshed INTO refreshed FROM datamill.merges l WHERE l.receipt = m.receipt ORDER BY merge_id DESC LIMIT 1;
      IF random() < 0.4 AND refreshed = 0 AND i > 1 THEN
        PERFORM datamill.cdc_undo('cdc_so.t');
        TRUNCATE cdc_so.o;
        INSERT INTO cdc_so.o SELECT * FROM cdc_so.saved;
        undone := undone + 1;
        IF cdc_so.differing(s.roles, s.options, false) > 0 THEN
          RAISE WARNING 'undo of merge % of round % is wrong: %', i, round, s.options;
          wrong := wrong + 1;
        END IF;
        IF EXISTS (SELECT FROM datamill.check_dataset('cdc_so.t')) THEN unsound := unsound + 1; END IF;
      END IF;
      day := day + (random() * 20)::int;
    END LOOP;
    PERFORM datamill.drop_dataset('cdc_so.t');
  END LOOP;
END
$$;
SELECT setseed(0.42);
SELECT merges, undone > 5 AS undone, altered > 5 AS altered, wrong, unsound FROM cdc_so.run(30);
DROP SCHEMA cdc_so CASCADE;
