-- What the first start and the health check of a site ask.

-- name: lock_first_start
SELECT pg_advisory_xact_lock(hashtext('first_start'))

-- name: has_sites
SELECT EXISTS (SELECT FROM site)

-- name: has_person
SELECT EXISTS (SELECT FROM person WHERE name = %(name)s)

-- name: hub_was_active
-- Of the hub on the machine (or container) that asks: several hubs may share the database.
SELECT coalesce(max(state_change) > clock_timestamp() - make_interval(secs => %(within_s)s), false)
FROM pg_stat_activity
WHERE application_name = %(application_name)s AND datname = current_database()
    AND client_addr IS NOT DISTINCT FROM inet_client_addr()
