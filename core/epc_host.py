"""The host of a Digital Link inside a tag: the ++ schemes of TDS 2.3 (14.5.16), plain or with its frequent endings shortened."""

import re
from typing import Final

from core.epc_text import CODE40, GS1_CHARACTERS, BitReader, BitWriter, put_code40, take_code40
from core.errors import CodeError

LONGEST_HOST: Final = 63
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?")
_SHORT: Final = {ord(letter): letter for letter in GS1_CHARACTERS} | {
    30: "qr.",
    31: "www.",
    32: "id.",
    91: ".com",
    92: ".org",
    93: ".net",
    94: ".int",
    96: ".edu",
    123: ".gov",
    124: ".mil",
    125: ".biz",
    126: ".eco",
    127: ".med",
}
"""Table 14-11: characters and endings of one 7-bit code."""
_LONG: Final = (
    # Table 14-12
    ".ac .ad .ae .af .ag .ai .al .am .ao .aq .ar .as .at .au .aw .ax .az .ba .bb .bd .be .bf .bg .bh .bi .bj .bm .bn .bo "
    ".bq .br .bs .bt .bw .by .bz .ca .cc .cd .cf .cg .ch .ci .ck .cl .cm .cn .co .cr .cu .cv .cw .cx .cy .cz .de .dj .dk "
    ".dm .do .dz .ec .ee .eg .eh .er .es .et .eu .fi .fj .fk .fm .fo .fr .ga .gd .ge .gf .gg .gh .gi .gl .gm .gn .gp .gq "
    ".gr .gs .gt .gu .gw .gy .hk .hm .hn .hr .ht .hu .id .ie .il .im .in .io .iq .ir .is .it .je .jm .jo .jp .ke .kg .kh "
    ".ki .km .kn .kp .kr .kw .ky .kz .la .lb .lc .li",
    # Table 14-13
    ".lk .lr .ls .lt .lu .lv .ly .ma .mc .md .me .mg .mh .mk .ml .mm .mn .mo .mp .mq .mr .ms .mt .mu .mv .mw .mx .my .mz "
    ".na .nc .ne .nf .ng .ni .nl .no .np .nr .nu .nz .om .pa .pe .pf .pg .ph .pk .pl .pm .pn .pr .ps .pt .pw .py .qa .re "
    ".ro .rs .ru .rw .sa .sb .sc .sd .se .sg .sh .si .sk .sl .sm .sn .sr .ss .st .su .sv .sx .sy .sz .tc .td .tf .tg .th "
    ".tj .tk .tl .tm .tn .to .tr .tt .tv .tw .tz .ua .ug .us .uy .uz .va .vc .ve .vg .vi .vn .vu .wf .ws .ye .yt .za .zm "
    ".zw",
    # Table 14-14, which prints .org.cn and .net.cn under the first table's code; they are rows of this one
    ".com.au .net.au .org.au .co.at .com.bd .co.bd .com.br .net.br .co.nz .com.ng .com.pk .co.in .com.in .co.il .co.jp "
    ".co.za .co.kr .com.es .com.lk .co.th .co.tt .com.tt .com.tr .biz.tr .com.ua .co.uk .co.zm .com.zm .com.cn .org.cn "
    ".net.cn .gov.cn",
    # Table 14-15
    ".tech",
)
_PAIRS: Final = {(table, row): text for table, line in enumerate(_LONG) for row, text in enumerate(line.split())}
"""Tables 14-12 to 14-15: endings of two 7-bit codes."""
_CODES: Final[dict[str, tuple[int, ...]]] = {
    **{text: (code,) for code, text in _SHORT.items()},
    **{text: pair for pair, text in _PAIRS.items()},
}
_LONGEST_ENDING: Final = max(map(len, _CODES))


def require_host(text: str) -> str:
    """The host, when a link can have it: letters, digits, dots, hyphens, underscores, maybe a port, at most 63 characters.

    TDS would let any serial's character pass; most of them would end the host of a URI. Raises CodeError.
    """
    if len(text) > LONGEST_HOST or not _HOST.fullmatch(text):
        raise CodeError(f"host {text!r} must be 1 to {LONGEST_HOST} letters, digits, dots, hyphens or underscores")
    return text


def put_host(writer: BitWriter, host: str) -> None:
    """The host as URN Code 40 when it has no small letter, else as 7-bit codes with the longest ending wherever one fits."""
    require_host(host)
    if set(host) <= set(CODE40[1:]):
        writer.put(0, 1, "host encoding")
        writer.put(len(host), 6, "host length")
        put_code40(writer, host, "host")
        return
    codes: list[int] = []
    place = 0
    while place < len(host):
        lengths = range(_LONGEST_ENDING, 0, -1)
        text = next(host[place : place + length] for length in lengths if host[place : place + length] in _CODES)
        codes.extend(_CODES[text])
        place += len(text)
    writer.put(1, 1, "host encoding")
    writer.put(len(codes), 6, "host length")
    for code in codes:
        writer.put(code, 7, "host")


def take_host(reader: BitReader) -> str:
    """The host behind its encoding bit and its length in characters or codes. Raises CodeError for codes that mean nothing."""
    plain = reader.take(1, "host encoding") == 0
    length = reader.take(6, "host length")
    if plain:
        return require_host(take_code40(reader, length, "host"))
    text = ""
    while length > 0:
        code = reader.take(7, "host")
        length -= 1
        if code < len(_LONG):
            if length == 0:
                raise CodeError("host ends within a code of two")
            pair = (code, reader.take(7, "host"))
            length -= 1
            if pair not in _PAIRS:
                raise CodeError(f"host code {pair[0]}, {pair[1]} is reserved")
            text += _PAIRS[pair]
        elif code in _SHORT:
            text += _SHORT[code]
        else:
            raise CodeError(f"host code {code} is reserved")
    return require_host(text)
