"""One EPC in any of its spellings, described in all of them: the command `quartermaster epc`."""

from core.epc import decode, parse_uri
from core.errors import CodeError


def describe(text: str) -> dict[str, str | None]:
    """`input`, `scheme`, `uri`, `pure_identity`, `digital_link` and `error` (None when fine) of hex, a URN or a Digital Link.

    Never raises: what cannot be read has an error and None everywhere else.
    """
    line = text.strip()
    try:
        epc = parse_uri(line) if ":" in line else decode(line)
    except CodeError as error:
        return {"input": text, "scheme": None, "uri": None, "pure_identity": None, "digital_link": None, "error": str(error)}
    return {
        "input": text,
        "scheme": epc.scheme,
        "uri": epc.uri,
        "pure_identity": epc.pure_identity,
        "digital_link": epc.digital_link,
        "error": None,
    }
