"""What the environment may say, and how it is told that it is wrong."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from hub.__main__ import main
from hub.settings import read_settings

DATABASE = {"QM_DATABASE_URI": "postgresql://hub:secret@db/quartermaster"}
INFLUX = {"QM_INFLUX_URL": "http://influx:8086", "QM_INFLUX_TOKEN": "t", "QM_INFLUX_ORG": "o", "QM_INFLUX_BUCKET": "b"}


def test_the_database_alone_is_enough_to_begin_with() -> None:
    settings = read_settings(DATABASE)
    assert (settings.mqtt, settings.influx, settings.replan_policy) == (None, None, "propose")
    assert (settings.api_host, settings.api_port, settings.time_scale.speed) == ("127.0.0.1", 8080, 1.0)


def test_everything_can_be_set() -> None:
    settings = read_settings(
        {
            **DATABASE,
            **INFLUX,
            "QM_MQTT_URL": "mqtts://hub:p%40ss@broker",
            "QM_MQTT_SHARE": "hubs",
            "QM_TIME_SCALE": "2026-01-01T00:00:00+00:00@2026-06-01T08:00:00+00:00x60",
            "QM_API_BIND": "[::1]:0",
            "QM_REPLAN_POLICY": "apply",
        }
    )
    mqtt = settings.require_mqtt()
    assert (mqtt.host, mqtt.port, mqtt.tls, mqtt.username, mqtt.password, mqtt.share) == (
        "broker",
        8883,
        True,
        "hub",
        "p@ss",
        "hubs",
    )
    assert settings.influx is not None
    assert (settings.influx.bucket, settings.time_scale.speed) == ("b", 60.0)
    assert (settings.api_host, settings.api_port, settings.replan_policy) == ("::1", 0, "apply")


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "uri"
    secret.write_text("postgresql://hub:from-file@db/quartermaster\n", encoding="utf-8")
    assert "from-file" in read_settings({"QM_DATABASE_URI_FILE": str(secret)}).database_uri


def test_secrets_do_not_show_in_the_settings_text() -> None:
    settings = read_settings({**DATABASE, **INFLUX, "QM_INFLUX_TOKEN": "sesame", "QM_MQTT_URL": "mqtt://hub:sesame@broker"})
    assert "sesame" not in repr(settings)
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "QM_DATABASE_URI is not set"),
        ({**DATABASE, "QM_DATABASE_URI_FILE": "/x"}, "QM_DATABASE_URI and QM_DATABASE_URI_FILE are both set"),
        ({"QM_DATABASE_URI_FILE": "/nowhere/uri"}, "QM_DATABASE_URI_FILE: cannot read /nowhere/uri"),
        ({**DATABASE, "QM_MQTT_URL": "http://broker"}, "QM_MQTT_URL: use mqtt://"),
        ({**DATABASE, "QM_MQTT_URL": "mqtt://[x"}, "QM_MQTT_URL: Invalid IPv6 URL; use mqtt://"),
        ({**DATABASE, "QM_API_BIND": "host:²"}, "QM_API_BIND 'host:²'"),
        ({**DATABASE, "QM_MQTT_URL": "mqtt://broker:99999"}, "QM_MQTT_URL: Port out of range"),
        ({**DATABASE, "QM_MQTT_URL": "mqtt://broker", "QM_MQTT_SHARE": "a/b"}, "QM_MQTT_SHARE 'a/b'"),
        ({**DATABASE, "QM_INFLUX_URL": "http://x"}, "QM_INFLUX_TOKEN, QM_INFLUX_ORG, QM_INFLUX_BUCKET not set"),
        ({**DATABASE, "QM_TIME_SCALE": "fast"}, "QM_TIME_SCALE: time scale 'fast'"),
        ({**DATABASE, "QM_API_BIND": "8080"}, "QM_API_BIND '8080'"),
        ({**DATABASE, "QM_API_BIND": "host:http"}, "QM_API_BIND 'host:http'"),
        ({**DATABASE, "QM_REPLAN_POLICY": "yolo"}, "QM_REPLAN_POLICY 'yolo'"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_settings(environ)
    assert said in str(error.value)


def test_the_hub_without_a_broker_says_so_and_ends_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QM_DATABASE_URI", DATABASE["QM_DATABASE_URI"])
    monkeypatch.delenv("QM_MQTT_URL", raising=False)
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "QM_MQTT_URL is not set" in capsys.readouterr().err
