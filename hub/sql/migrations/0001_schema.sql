-- The relational part of the store. Time series are in 0002, in one file for plain PostgreSQL and one for TimescaleDB.
-- Every time is timestamptz. at / *_at from a device is event time; recorded_at is when this database learned of it.

-- Places ------------------------------------------------------------------------------------------------------------------
CREATE TABLE site (
    site      text PRIMARY KEY CHECK (site ~ '^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$'),
    name_zh   text NOT NULL,
    name_en   text NOT NULL,
    time_zone text NOT NULL DEFAULT 'Asia/Shanghai',
    latitude  double precision,
    longitude double precision
);

CREATE TABLE location (
    location      text PRIMARY KEY CHECK (location ~ '^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$'),
    site          text NOT NULL REFERENCES site,
    parent        text REFERENCES location,
    role          text NOT NULL CHECK (role IN ('gate', 'zone', 'cold_room', 'refrigerator', 'quarantine', 'vehicle')),
    storage_class text NOT NULL DEFAULT 'ambient'
                  CHECK (storage_class IN ('ambient', 'cool', 'refrigerated', 'frozen', 'hazardous', 'quarantine')),
    name_zh       text NOT NULL,
    name_en       text NOT NULL,
    -- a gate only: where received goods are then held to be, and where doubtful goods are put aside
    receives_into    text REFERENCES location,
    quarantines_into text REFERENCES location
);

-- Agents and devices ------------------------------------------------------------------------------------------------------
CREATE TABLE agent (
    site        text NOT NULL,
    agent       text NOT NULL,
    online      boolean,
    status_at   timestamptz,
    boot        text,
    version     text,
    outbox_batches bigint NOT NULL DEFAULT 0,
    outbox_bytes   bigint NOT NULL DEFAULT 0,
    health         jsonb,                          -- core.messages.AgentHealth as last told
    last_batch_at  timestamptz,
    clock_skew_s   double precision,
    PRIMARY KEY (site, agent)
);

-- Which batches are committed: one row a life of an agent's outbox, its seq numbers as ranges, so that the row stays small.
CREATE TABLE received_batches (
    site     text NOT NULL,
    agent    text NOT NULL,
    boot     text NOT NULL,
    seqs     int8multirange NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (site, agent, boot)
) WITH (fillfactor = 50);

-- What holds no fact: messages nobody can read, and places and states of devices that cannot be true. The newest of each agent stay.
CREATE TABLE rejected_message (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic       text NOT NULL,
    payload     bytea NOT NULL,                    -- of a long message only the beginning
    size        bigint,                            -- bytes of the whole message; null: those kept
    sha256      bytea,                             -- of the whole message, when only its beginning is kept and all of it was seen
    reason      text NOT NULL,
    site        text,                              -- whose topic it came in on; null: on none of ours
    agent       text,
    boot        text,
    seq         bigint,
    received_at timestamptz NOT NULL
);
CREATE INDEX rejected_message_by_agent ON rejected_message ((coalesce(site, '')), (coalesce(agent, '')), id DESC);

-- Facts that could be read and not taken: of an untrue time, or refused by a rule. Never dropped: a person takes them in again,
-- with their times put right, or dismisses them; then only who did it, when and why stays.
CREATE TABLE set_aside_fact (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site        text NOT NULL,
    agent       text NOT NULL,
    boot        text NOT NULL,
    seq         bigint NOT NULL,
    item        integer,                           -- index in its batch; null: readings of several, or a whole batch
    topic       text NOT NULL,
    payload     bytea NOT NULL,                    -- a batch of just these facts; empty once settled
    reason      text NOT NULL,
    set_aside_at timestamptz NOT NULL,
    settled_at  timestamptz,
    settled_by  text,
    settlement  text CHECK (settlement IN ('taken', 'dismissed')),
    shift_s     double precision,                  -- added to their times when they were taken in
    settled_reason text NOT NULL DEFAULT '',
    CHECK ((settled_at IS NULL) = (settlement IS NULL) AND (settled_at IS NULL) = (settled_by IS NULL))
);
CREATE INDEX set_aside_fact_waiting ON set_aside_fact (site, agent, id) WHERE settled_at IS NULL;

-- How much of each agent's waits there, kept by whoever adds or settles, so that the limit is looked up and never counted.
CREATE TABLE set_aside_size (
    site   text NOT NULL,
    agent  text NOT NULL,
    facts  bigint NOT NULL,                        -- rows of set_aside_fact
    bytes  bigint NOT NULL,
    PRIMARY KEY (site, agent)
) WITH (fillfactor = 50);

CREATE TABLE device (
    site       text NOT NULL,
    device     text NOT NULL,
    location   text REFERENCES location,
    state      text NOT NULL DEFAULT 'offline' CHECK (state IN ('online', 'offline', 'fault')),
    state_at   timestamptz,
    detail     text NOT NULL DEFAULT '',
    counts     jsonb NOT NULL DEFAULT '{}',
    placed_after timestamptz,                      -- the newest reading known when it was put here; null: it never stood elsewhere
    PRIMARY KEY (site, device)
);

-- Where a device stood before it was moved: its readings in (placed_after, until] are judged by the rules of that place, however
-- late they come. In event time of the device itself, so no clock of a person or a hub decides where a reading belongs.
CREATE TABLE device_stay (
    site       text NOT NULL,
    device     text NOT NULL,
    location   text NOT NULL REFERENCES location,
    placed_after timestamptz,
    until      timestamptz NOT NULL,
    PRIMARY KEY (site, device, until),
    FOREIGN KEY (site, device) REFERENCES device
);

-- A device not told of before is added when its first reading comes; then its location is null and the devices list says so.
CREATE TABLE series (
    series_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site      text NOT NULL,
    device    text NOT NULL,
    quantity  text NOT NULL CHECK (quantity IN ('celsius', 'humidity_percent', 'pressure_pa', 'battery_volts', 'battery_percent')),
    UNIQUE (site, device, quantity),
    FOREIGN KEY (site, device) REFERENCES device
);

-- The newest reading of each series by event time; never moves backwards.
CREATE TABLE series_latest (
    series_id integer PRIMARY KEY REFERENCES series,
    at        timestamptz NOT NULL,
    value     double precision NOT NULL,
    recorded_at timestamptz NOT NULL,
    first_at  timestamptz                          -- the earliest reading: an even earlier one may have a gap behind it
) WITH (fillfactor = 50);

-- Doors, mains, eyes, alarm outputs: one row a change.
CREATE TABLE device_state (
    site        text NOT NULL,
    device      text NOT NULL,
    input       text NOT NULL CHECK (input IN ('door_open', 'mains_power', 'photo_eye', 'water_leak', 'alarm_output')),
    at          timestamptz NOT NULL,
    is_on       boolean NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (site, device, input, at),
    FOREIGN KEY (site, device) REFERENCES device
);

-- A device that is put elsewhere leaves a stay behind, as far as its readings reached.
CREATE FUNCTION leave_place() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest timestamptz := (SELECT max(latest.at) FROM series JOIN series_latest latest USING (series_id)
                           WHERE (series.site, series.device) = (OLD.site, OLD.device));
BEGIN
    IF (OLD.location IS NOT NULL OR OLD.placed_after IS NOT NULL) AND newest > coalesce(OLD.placed_after, '-infinity') THEN
        IF OLD.location IS NOT NULL THEN
            INSERT INTO device_stay VALUES (OLD.site, OLD.device, OLD.location, OLD.placed_after, newest);
        END IF;
        NEW.placed_after := newest;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER device_leaves_place BEFORE UPDATE OF location ON device
    FOR EACH ROW WHEN (OLD.location IS DISTINCT FROM NEW.location) EXECUTE FUNCTION leave_place();

-- Same device, same moment, another value: the first one stays in `reading`, this one is kept here and counted.
CREATE TABLE reading_conflict (
    series_id   integer NOT NULL,
    at          timestamptz NOT NULL,
    value       double precision NOT NULL,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX reading_conflict_by_series ON reading_conflict (series_id, at);

-- Cold chain --------------------------------------------------------------------------------------------------------------
CREATE TABLE limit_rule (
    rule         text PRIMARY KEY,
    location     text NOT NULL REFERENCES location,
    quantity     text NOT NULL CHECK (quantity IN ('celsius', 'humidity_percent')),
    lower        double precision,
    upper        double precision,
    inclusive    boolean NOT NULL DEFAULT true,   -- is a value equal to the limit already outside?
    delay_s      double precision NOT NULL CHECK (delay_s >= 0),
    hysteresis   double precision NOT NULL DEFAULT 0 CHECK (hysteresis >= 0),
    max_gap_s    double precision NOT NULL CHECK (max_gap_s > 0),
    severity     text NOT NULL CHECK (severity IN ('warning', 'minor', 'major', 'critical')),
    known_at     timestamptz NOT NULL,    -- since when a room that was never heard is silent
    CHECK (lower IS NOT NULL OR upper IS NOT NULL)
);

-- Where the fold over a series stands (core.coldchain), so that a restart goes on at the same reading.
CREATE TABLE rule_state (
    rule      text NOT NULL REFERENCES limit_rule ON DELETE CASCADE,
    series_id integer NOT NULL REFERENCES series,
    state     jsonb NOT NULL,
    upto      timestamptz NOT NULL,
    placed_after timestamptz,                      -- of the device: a state from before a move is no place to go on from
    PRIMARY KEY (rule, series_id)
) WITH (fillfactor = 50);

CREATE INDEX rule_state_running ON rule_state (series_id) WHERE state <> 'null';

-- Another one whenever a rule, a device's place or the set of series changes, so that a hub knows when to read its rules again.
-- Random, because a version that was rolled back must never come again: a hub may hold what it read under it. Counters do come
-- again after a rollback, and sequences after a crash.
CREATE TABLE rule_book (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  uuid NOT NULL
);
INSERT INTO rule_book (version) VALUES (gen_random_uuid());
CREATE FUNCTION renew_rule_book() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE rule_book SET version = gen_random_uuid();
    RETURN NULL;
END $$;
-- By row: a statement's trigger would also fire for an upsert that changes nothing here, as every device status is.
CREATE TRIGGER rule_book_knows_new_rules AFTER INSERT OR DELETE ON limit_rule
    FOR EACH ROW EXECUTE FUNCTION renew_rule_book();
CREATE TRIGGER rule_book_knows_changed_rules AFTER UPDATE ON limit_rule
    FOR EACH ROW WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION renew_rule_book();
CREATE TRIGGER rule_book_knows_moved_devices AFTER UPDATE OF location ON device
    FOR EACH ROW WHEN (OLD.location IS DISTINCT FROM NEW.location) EXECUTE FUNCTION renew_rule_book();
CREATE TRIGGER rule_book_knows_series AFTER INSERT OR DELETE ON series
    FOR EACH ROW EXECUTE FUNCTION renew_rule_book();

CREATE TABLE excursion (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule       text NOT NULL REFERENCES limit_rule,
    series_id  integer NOT NULL REFERENCES series,
    started_at timestamptz NOT NULL,
    alarmed_at timestamptz NOT NULL,
    ended_at   timestamptz,
    peak       double precision NOT NULL,
    area       double precision NOT NULL,          -- unit-minutes beyond the limit
    recorded_at timestamptz NOT NULL,
    UNIQUE (rule, series_id, started_at)
);
CREATE INDEX excursion_by_end ON excursion (ended_at);

-- A pause between two neighbouring readings of a watched series that is longer than its rules allow; while the series is silent
-- `ended_at` is null and `started_at` its newest reading.
CREATE TABLE data_gap (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id  integer NOT NULL REFERENCES series,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,
    recorded_at timestamptz NOT NULL,
    UNIQUE (series_id, started_at)
);
CREATE UNIQUE INDEX data_gap_one_goes_on ON data_gap (series_id) WHERE ended_at IS NULL;
CREATE INDEX data_gap_by_end ON data_gap (ended_at);

CREATE TABLE alert (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('excursion', 'silence', 'device', 'receipt', 'lateness')),
    source      text NOT NULL,                     -- what it is about: a series, device, receipt or vehicle, as <noun>:<name>
    rule        text NOT NULL,                     -- what it broke
    severity    text NOT NULL CHECK (severity IN ('warning', 'minor', 'major', 'critical')),
    site        text REFERENCES site,
    location    text REFERENCES location,
    state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'acknowledged', 'resolved')),
    opened_at   timestamptz NOT NULL,              -- event time
    recorded_at timestamptz NOT NULL,
    cleared_at  timestamptz,                       -- event time at which the cause went away
    acknowledged_at timestamptz,
    acknowledged_by text,
    acknowledge_reason text,
    resolved_at timestamptz,
    details     jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX alert_one_open_per_cause ON alert (source, rule) WHERE state <> 'resolved' AND cleared_at IS NULL;
CREATE INDEX alert_by_time ON alert (opened_at DESC);
CREATE INDEX alert_by_source ON alert (source, rule);

-- Goods -------------------------------------------------------------------------------------------------------------------
CREATE TABLE product (
    gtin          text PRIMARY KEY CHECK (gtin ~ '^[0-9]{14}$'),
    name_zh       text NOT NULL,
    name_en       text NOT NULL,
    unit          text NOT NULL,
    storage_class text NOT NULL CHECK (storage_class IN ('ambient', 'cool', 'refrigerated', 'frozen', 'hazardous')),
    short_dated_days integer NOT NULL DEFAULT 90 CHECK (short_dated_days >= 0)
);

CREATE TABLE lot (
    gtin   text NOT NULL REFERENCES product,
    lot    text NOT NULL CHECK (lot <> ''),
    expiry date,
    PRIMARY KEY (gtin, lot)
);

-- A serialised item (SGTIN) or logistic unit known by its EPC.
CREATE TABLE item (
    epc      text PRIMARY KEY,                     -- pure identity URI
    gtin     text NOT NULL REFERENCES product,
    serial   text NOT NULL,
    lot      text NOT NULL,
    location text REFERENCES location,             -- null: not in our hands
    UNIQUE (gtin, serial),                         -- the same unit, whatever carried its code
    FOREIGN KEY (gtin, lot) REFERENCES lot
);

CREATE TABLE movement (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         text NOT NULL UNIQUE,              -- idempotency key
    gtin        text NOT NULL,
    lot         text NOT NULL,
    epc         text,
    quantity    integer NOT NULL CHECK (quantity > 0),
    from_location text REFERENCES location,        -- null: from outside
    to_location   text REFERENCES location,        -- null: to outside
    biz_step    text NOT NULL,
    disposition text NOT NULL,
    reason      text NOT NULL DEFAULT '',
    actor       text NOT NULL,                     -- person:<name>, token:<name>, portal:<name>
    event_time  timestamptz NOT NULL,
    record_time timestamptz NOT NULL,
    FOREIGN KEY (gtin, lot) REFERENCES lot,
    CHECK (from_location IS DISTINCT FROM to_location)
);
CREATE INDEX movement_by_lot ON movement (gtin, lot, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: correct with a new row', TG_TABLE_NAME USING ERRCODE = 'QM001';
END $$;
CREATE TRIGGER movement_is_append_only BEFORE UPDATE OR DELETE ON movement
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER movement_is_never_emptied BEFORE TRUNCATE ON movement
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The ledger's sums, kept in the transaction that writes the movement.
CREATE TABLE stock (
    location text NOT NULL REFERENCES location,
    gtin     text NOT NULL,
    lot      text NOT NULL,
    quantity bigint NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (location, gtin, lot),
    FOREIGN KEY (gtin, lot) REFERENCES lot
);

-- Receiving ---------------------------------------------------------------------------------------------------------------
CREATE TABLE shipment (
    shipment  text PRIMARY KEY,                    -- the supplier's advice number
    supplier  text NOT NULL,
    gate      text NOT NULL REFERENCES location,
    due_from  timestamptz NOT NULL,
    due_until timestamptz NOT NULL,
    state     text NOT NULL DEFAULT 'expected' CHECK (state IN ('expected', 'receiving', 'received', 'cancelled')),
    CHECK (due_until > due_from)
);

CREATE TABLE shipment_line (
    shipment text NOT NULL REFERENCES shipment,
    line     integer NOT NULL,
    gtin     text NOT NULL REFERENCES product,
    lot      text NOT NULL,
    expiry   date,
    quantity integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (shipment, line)
);

CREATE TABLE receipt (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gate      text NOT NULL REFERENCES location,
    shipment  text REFERENCES shipment,            -- null: nothing was expected at that gate
    state     text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'posted')),
    verdict   text CHECK (verdict IN ('clean', 'discrepancy')),
    opened_at timestamptz NOT NULL,                -- event time of the first passage
    last_passage_at timestamptz NOT NULL,
    recorded_at timestamptz,                       -- when the newest passage or scan was recorded
    posted_at timestamptz,
    posting_failed_at timestamptz,                 -- when a rule or the store last refused to post it; null: never, or posted since
    posting_problem   text
);
CREATE INDEX receipt_by_gate ON receipt (gate, id DESC);
CREATE INDEX receipt_by_shipment ON receipt (shipment, id);
-- Two stand open at a gate when an agent tells late of two lorries at once: each closes for itself.
CREATE INDEX receipt_open ON receipt (gate) WHERE state = 'open';

-- One tag or scan that passed while a receipt was open. A tag counts once in a receipt, however often it is seen.
CREATE TABLE receipt_item (
    receipt   bigint NOT NULL REFERENCES receipt,
    code      text NOT NULL,                       -- pure identity URI, raw tag URI, or a barcode's element string
    epc_hex   text,
    gtin      text,
    lot       text,                                -- as judged: what the code says, else the shipment line it fills
    serial    text,                                -- null: the code names no single unit, so it counts nothing
    carried_lot    text,                           -- what the code itself says
    carried_expiry date,
    finding   text NOT NULL CHECK (finding IN ('expected', 'over', 'wrong_product', 'unknown_tag', 'doubled_serial', 'expired',
                                               'unknown_direction')),
    seen_at   timestamptz NOT NULL,
    confidence double precision NOT NULL,
    inbound   boolean NOT NULL DEFAULT true,       -- false: it was seen at the gate, and nothing says which way it went
    PRIMARY KEY (receipt, code)
);
CREATE INDEX receipt_item_by_serial ON receipt_item (gtin, serial) WHERE serial IS NOT NULL;

-- Every passage, whatever came of it.
CREATE TABLE passage (
    agent      text NOT NULL,
    boot       text NOT NULL,
    seq        bigint NOT NULL,
    item       integer NOT NULL,                   -- index in the batch
    site       text NOT NULL,
    portal     text NOT NULL,
    epc_hex    text NOT NULL,
    direction  text NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    reads      integer NOT NULL,
    peak_rssi_dbm double precision,
    confidence double precision NOT NULL,
    tag_group  text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (site, agent, boot, seq, item)
);
CREATE INDEX passage_by_portal ON passage (site, portal, first_seen);

CREATE TABLE barcode_scan (
    agent      text NOT NULL,
    boot       text NOT NULL,
    seq        bigint NOT NULL,
    item       integer NOT NULL,
    site       text NOT NULL,
    read_point text NOT NULL,
    scanned    text NOT NULL,
    at         timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (site, agent, boot, seq, item)
);

-- Dispatch ----------------------------------------------------------------------------------------------------------------
CREATE TABLE vehicle (
    vehicle   text PRIMARY KEY,
    site      text NOT NULL REFERENCES site,       -- its depot
    name_zh   text NOT NULL,
    name_en   text NOT NULL,
    tracker_site text NOT NULL,                    -- the position series: site and device of its tracker
    tracker   text NOT NULL,
    capacity  integer NOT NULL CHECK (capacity > 0),   -- cartons
    cold_box  boolean NOT NULL DEFAULT false,
    speed_mps double precision NOT NULL CHECK (speed_mps > 0),  -- mean on the road, for travel times
    shift_from timestamptz NOT NULL,
    shift_until timestamptz NOT NULL,
    tracker_id integer GENERATED ALWAYS AS IDENTITY UNIQUE,     -- key of the position series
    UNIQUE (tracker_site, tracker),
    CHECK (shift_until > shift_from)
);

-- The newest fix by event time; a late fix never moves it back.
CREATE TABLE vehicle_live (
    vehicle   text PRIMARY KEY REFERENCES vehicle,
    at        timestamptz NOT NULL,
    latitude  double precision NOT NULL,
    longitude double precision NOT NULL,
    speed_mps double precision,
    course_deg double precision,
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE destination (
    destination text PRIMARY KEY,
    name_zh   text NOT NULL,
    name_en   text NOT NULL,
    latitude  double precision NOT NULL CHECK (latitude BETWEEN -90 AND 90),
    longitude double precision NOT NULL CHECK (longitude BETWEEN -180 AND 180)
);

CREATE TABLE delivery_order (
    id          text PRIMARY KEY,
    site        text NOT NULL REFERENCES site,     -- the depot that serves it
    destination text NOT NULL REFERENCES destination,
    window_from timestamptz NOT NULL,
    window_until timestamptz NOT NULL,
    service_s   integer NOT NULL CHECK (service_s >= 0),
    demand      integer NOT NULL CHECK (demand > 0),   -- cartons
    needs_cold_box boolean NOT NULL DEFAULT false,
    priority    integer NOT NULL DEFAULT 50 CHECK (priority BETWEEN 0 AND 100),
    state       text NOT NULL DEFAULT 'planned_for' CHECK (state IN ('planned_for', 'loaded', 'arrived', 'delivered', 'cancelled')),
    arrived_at  timestamptz,
    delivered_at timestamptz,
    created_at  timestamptz NOT NULL,
    CHECK (window_until > window_from)
);

CREATE TABLE delivery_order_line (
    order_id text NOT NULL REFERENCES delivery_order,
    line     integer NOT NULL,
    gtin     text NOT NULL REFERENCES product,
    quantity integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, line)
);

CREATE TABLE plan (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site       text NOT NULL REFERENCES site,
    state      text NOT NULL CHECK (state IN ('proposed', 'active', 'superseded', 'rejected')),
    trigger    text NOT NULL CHECK (trigger IN ('day', 'lateness', 'new_order', 'manual')),
    replaces   bigint REFERENCES plan,
    reasons    jsonb NOT NULL DEFAULT '[]',        -- [{"code", "vehicle"?, "order"?, "late_s"?}] turned into words by the screen
    engine     text NOT NULL,
    elapsed_s  double precision NOT NULL,
    distance_m bigint NOT NULL,
    unserved   jsonb NOT NULL DEFAULT '[]',        -- [{"order", "reason"}]
    made_at    timestamptz NOT NULL,
    decided_at timestamptz,
    decided_by text
);
CREATE UNIQUE INDEX plan_one_active_per_site ON plan (site) WHERE state = 'active';
CREATE UNIQUE INDEX plan_one_proposed_per_site ON plan (site) WHERE state = 'proposed';

CREATE TABLE plan_stop (
    plan       bigint NOT NULL REFERENCES plan,
    vehicle    text NOT NULL REFERENCES vehicle,
    place      integer NOT NULL,                   -- order on the route, from 0
    order_id   text NOT NULL REFERENCES delivery_order,
    arrival_at timestamptz NOT NULL,
    start_at   timestamptz NOT NULL,
    departure_at timestamptz NOT NULL,
    lateness_s integer NOT NULL DEFAULT 0,
    PRIMARY KEY (plan, vehicle, place),
    UNIQUE (plan, order_id)
);

-- People and programs -----------------------------------------------------------------------------------------------------
CREATE TABLE person (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9._-]{1,63}$'),
    role       text NOT NULL CHECK (role IN ('gate', 'storekeeper', 'dispatcher', 'driver', 'maintainer', 'auditor', 'admin')),
    password_hash text NOT NULL,
    language   text NOT NULL DEFAULT 'zh-CN' CHECK (language IN ('zh-CN', 'en')),
    vehicle    text REFERENCES vehicle,            -- a driver's
    disabled   boolean NOT NULL DEFAULT false
);

CREATE TABLE session (
    token_sha256 bytea PRIMARY KEY,
    person     text NOT NULL REFERENCES person,
    csrf       text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE api_token (
    token_sha256 bytea PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    role       text NOT NULL CHECK (role IN ('gate', 'storekeeper', 'dispatcher', 'driver', 'maintainer', 'auditor', 'admin')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);

-- Phones that tell positions over HTTP: each has a secret of its own and speaks for one vehicle.
CREATE TABLE tracker_token (
    token_sha256 bytea PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    vehicle    text NOT NULL REFERENCES vehicle,
    coordinate_system text NOT NULL CHECK (coordinate_system IN ('wgs84', 'gcj02')),
    created_at timestamptz NOT NULL
);

CREATE TABLE login_attempt (
    name   text NOT NULL,
    origin text NOT NULL,                          -- the client's address; of IPv6 its /64 network
    at     timestamptz NOT NULL,
    ok     boolean NOT NULL
);
CREATE INDEX login_attempt_recent ON login_attempt (name, at);

-- Going out ---------------------------------------------------------------------------------------------------------------
-- Written in the transaction that changed the state. `place` is given at the very end of that transaction, one transaction at a time,
-- so places are committed in their order: a reader that has seen place n will never find one below n later.
CREATE SEQUENCE outgoing_place;
CREATE TABLE outgoing (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    place   bigint UNIQUE,
    kind    text NOT NULL,                         -- alert, receipt, plan, order, stock, device, rejection
    subject text NOT NULL,                         -- the id of the thing
    site    text,
    payload jsonb NOT NULL DEFAULT '{}',
    at      timestamptz NOT NULL
);
CREATE FUNCTION place_outgoing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Deferred to the commit, when every other lock of the transaction is held already: nobody who waits here is waited for.
    PERFORM pg_advisory_xact_lock(hashtextextended('quartermaster.outgoing', 0));
    UPDATE outgoing SET place = nextval('outgoing_place') WHERE id = NEW.id;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER outgoing_in_order AFTER INSERT ON outgoing DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION place_outgoing();

-- How far each reader of `outgoing` has come.
CREATE TABLE outgoing_reader (
    reader text PRIMARY KEY,
    place  bigint NOT NULL
);

-- One row a change of an alert and channel: to be sent while sent_at is null and attempts are few, and sent once.
CREATE TABLE notification (
    outgoing bigint NOT NULL,
    channel  text NOT NULL,
    sent_at  timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    PRIMARY KEY (outgoing, channel)
);
CREATE INDEX notification_due ON notification (channel, outgoing) WHERE sent_at IS NULL;

-- Readings on their way to the mirror, as InfluxDB line protocol; only filled when a mirror is configured.
CREATE TABLE mirror_queue (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lines bytea NOT NULL
);

-- What the mirror let go because it was away for too long; the readings themselves are in `reading`.
CREATE TABLE mirror_loss (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    dropped_rows  bigint NOT NULL DEFAULT 0,
    dropped_bytes bigint NOT NULL DEFAULT 0,
    dropped_at    timestamptz
);
INSERT INTO mirror_loss DEFAULT VALUES;

-- What each hub counts of itself, written every few seconds; `at` is the scenario's time of writing.
CREATE TABLE hub_status (
    hub        text PRIMARY KEY,                   -- its client id at the broker
    started_at timestamptz NOT NULL,
    at         timestamptz NOT NULL,
    counts     jsonb NOT NULL
) WITH (fillfactor = 50);
