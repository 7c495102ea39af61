-- Readings and positions on plain PostgreSQL: weekly partitions, made when first needed.
CREATE TABLE reading (
    series_id integer NOT NULL,
    at        timestamptz NOT NULL,
    value     double precision NOT NULL,
    PRIMARY KEY (series_id, at)
) PARTITION BY RANGE (at);

CREATE TABLE position (
    tracker_id integer NOT NULL,
    at         timestamptz NOT NULL,
    latitude   double precision NOT NULL,
    longitude  double precision NOT NULL,
    speed_mps  double precision,
    course_deg double precision,
    accuracy_m double precision,                   -- radius the tracker claims, if it does
    coordinate_system text NOT NULL DEFAULT 'wgs84' CHECK (coordinate_system IN ('wgs84', 'gcj02')),  -- of what it told
    told_latitude  double precision,               -- as it came, when that was not WGS-84; latitude and longitude always are
    told_longitude double precision,
    PRIMARY KEY (tracker_id, at)
) PARTITION BY RANGE (at);

-- Makes the weekly partitions that cover [first, last]. ATTACH keeps readers and writers of the parent going.
CREATE FUNCTION ensure_partitions(first timestamptz, last timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    monday timestamptz;
    part   text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['reading', 'position'] LOOP
        monday := date_trunc('week', first, 'UTC');
        WHILE monday <= last LOOP
            part := parent || to_char(monday AT TIME ZONE 'UTC', '"_"IYYY"w"IW');
            IF to_regclass(part) IS NULL THEN
                PERFORM pg_advisory_xact_lock(hashtext('ensure_partitions'));
                IF to_regclass(part) IS NULL THEN
                    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
                    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                                   parent, part, monday, monday + interval '7 days');
                END IF;
            END IF;
            monday := monday + interval '7 days';
        END LOOP;
    END LOOP;
END $$;

CREATE VIEW reading_hourly AS
SELECT series_id, date_bin('1 hour', at, timestamptz '2000-01-01 00:00Z') AS hour,
       count(*) AS readings, min(value) AS min_value, max(value) AS max_value, avg(value) AS mean_value
FROM reading GROUP BY series_id, hour;

CREATE VIEW position_hourly AS
SELECT tracker_id, date_bin('1 hour', at, timestamptz '2000-01-01 00:00Z') AS hour,
       count(*) AS fixes, max(speed_mps) AS max_speed_mps
FROM position GROUP BY tracker_id, hour;
