-- Phones that tell positions over HTTP. Times here are real time.

-- name: add_tracker
INSERT INTO tracker_token (token_sha256, name, vehicle, coordinate_system, created_at)
VALUES (%(token_sha256)s, %(name)s, %(vehicle)s, %(coordinate_system)s, %(created_at)s)
ON CONFLICT (name) DO NOTHING
RETURNING name

-- name: end_tracker
DELETE FROM tracker_token WHERE name = %(name)s RETURNING name

-- name: trackers
SELECT name, vehicle, coordinate_system, created_at FROM tracker_token ORDER BY name

-- name: tracker_of
SELECT t.name, t.coordinate_system, v.tracker_site, v.tracker
FROM tracker_token t JOIN vehicle v USING (vehicle) WHERE t.token_sha256 = %(token_sha256)s
