"""Both languages say everything, and say it about the same things."""

import json
import re
from pathlib import Path
from typing import Any

WEB = Path(__file__).parents[2] / "api" / "web"
PLACEHOLDER = re.compile(r"\{\w+\}")
SPOKEN = re.compile(r"""(?<![\w.])t\(['"]([\w.]+)['"]""")
COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(")


def words(language: str) -> dict[str, str]:
    """Every message by its dotted key."""

    def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
        found: dict[str, str] = {}
        for key, value in tree.items():
            found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return found

    return flat(json.loads((WEB / "src" / "i18n" / f"{language}.json").read_text("utf-8")))


def sources() -> dict[Path, str]:
    return {path: path.read_text("utf-8") for path in (WEB / "src").rglob("*") if path.suffix in (".vue", ".ts", ".css")}


def test_both_languages_have_the_same_keys() -> None:
    assert words("zh-CN").keys() == words("en").keys()


def test_no_message_is_empty() -> None:
    assert [(language, key) for language in ("zh-CN", "en") for key, text in words(language).items() if not text.strip()] == []


def test_both_languages_fill_in_the_same_values() -> None:
    chinese, english = words("zh-CN"), words("en")
    uneven = [key for key in english if set(PLACEHOLDER.findall(chinese[key])) != set(PLACEHOLDER.findall(english[key]))]
    assert uneven == []


def test_every_key_that_a_screen_names_exists() -> None:
    known = words("en").keys()
    spoken = {key for text in sources().values() for key in SPOKEN.findall(text)}
    assert len(spoken) > 100
    assert spoken - known == set()


def test_chinese_is_chinese() -> None:
    chinese = re.compile(r"[\u4e00-\u9fff]")
    latin = [key for key, text in words("zh-CN").items() if not chinese.search(text)]
    assert sorted(latin) == ["common.colon", "common.none", "common.separator", "gate.findingCount", "language.other"]


def test_colours_are_written_in_the_tokens_only() -> None:
    elsewhere = [path.name for path, text in sources().items() if path.name != "tokens.ts" and COLOUR.search(text)]
    assert elsewhere == []


def test_no_screen_reaches_for_the_internet() -> None:
    html = (WEB / "index.html").read_text("utf-8")
    outside = [path.name for path, text in sources().items() if re.search(r"https?://", text)]
    assert outside == []
    assert "http://" not in html
    assert "https://" not in html
