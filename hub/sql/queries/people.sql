-- People, programs, sessions, and attempts to come in. Times here are real time, also when a scenario is told faster.

-- name: add_person
INSERT INTO person (name, role, password_hash, language, vehicle)
VALUES (%(name)s, %(role)s, %(password_hash)s, %(language)s, %(vehicle)s)
ON CONFLICT (name) DO NOTHING
RETURNING name

-- name: known_vehicle
SELECT 1 FROM vehicle WHERE vehicle = %(vehicle)s

-- name: set_password
UPDATE person SET password_hash = %(password_hash)s WHERE name = %(name)s RETURNING name

-- name: set_language
UPDATE person SET language = %(language)s WHERE name = %(name)s RETURNING name

-- name: set_disabled
UPDATE person SET disabled = %(disabled)s WHERE name = %(name)s RETURNING name

-- name: people
SELECT name, role, language, vehicle, disabled FROM person ORDER BY name

-- name: tokens
SELECT name, role, created_at, expires_at FROM api_token ORDER BY name

-- name: password_of
SELECT password_hash FROM person WHERE name = %(name)s AND NOT disabled

-- name: lock_attempts
SELECT pg_advisory_xact_lock(hashtext('login_attempt'), hashtext(%(name)s))

-- name: forget_old_attempts
DELETE FROM login_attempt WHERE at < %(before)s

-- name: failures
SELECT count(*), min(at) FROM (
    SELECT at FROM login_attempt
    WHERE name = %(name)s AND (%(origin)s::text IS NULL OR origin = %(origin)s) AND at >= %(since)s AND NOT ok
    ORDER BY at DESC LIMIT %(limit)s
) AS newest

-- name: note_attempt
INSERT INTO login_attempt (name, origin, at, ok) VALUES (%(name)s, %(origin)s, %(at)s, %(ok)s)

-- name: forget_failures
DELETE FROM login_attempt WHERE name = %(name)s AND origin = %(origin)s AND NOT ok

-- name: add_session
INSERT INTO session (token_sha256, person, csrf, created_at, expires_at)
VALUES (%(token_sha256)s, %(person)s, %(csrf)s, %(created_at)s, %(expires_at)s)

-- name: forget_expired_sessions
DELETE FROM session WHERE expires_at <= %(now)s

-- name: keep_newest_sessions
DELETE FROM session WHERE token_sha256 IN (
    SELECT token_sha256 FROM session WHERE person = %(person)s ORDER BY created_at DESC, token_sha256 OFFSET %(keep)s
)

-- name: session
SELECT person.name, person.role, person.language, person.vehicle, session.csrf, session.expires_at
FROM session JOIN person ON person.name = session.person
WHERE session.token_sha256 = %(token_sha256)s AND session.expires_at > %(now)s AND NOT person.disabled

-- name: end_session
DELETE FROM session WHERE token_sha256 = %(token_sha256)s

-- name: end_sessions_of
DELETE FROM session WHERE person = %(name)s

-- name: add_token
INSERT INTO api_token (token_sha256, name, role, created_at, expires_at)
VALUES (%(token_sha256)s, %(name)s, %(role)s, %(created_at)s, %(expires_at)s)
ON CONFLICT (name) DO NOTHING
RETURNING name

-- name: end_token
DELETE FROM api_token WHERE name = %(name)s RETURNING name

-- name: token
SELECT name, role FROM api_token
WHERE token_sha256 = %(token_sha256)s AND (expires_at IS NULL OR expires_at > %(now)s)

-- name: still_in
SELECT token_sha256 FROM session JOIN person ON person.name = session.person
WHERE token_sha256 = ANY(%(tokens)s) AND expires_at > %(now)s AND NOT person.disabled
UNION ALL
SELECT token_sha256 FROM api_token
WHERE token_sha256 = ANY(%(tokens)s) AND (expires_at IS NULL OR expires_at > %(now)s)
