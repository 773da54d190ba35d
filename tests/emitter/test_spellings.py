r"""A name is redacted in whatever usual spelling it comes: in another Unicode form, case, code or colour."""

import html
import itertools
import json
import re
import string
import unicodedata
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import spellings
from flwr_telemetry.redaction import Redactor
from tests.support.strategies import tried, words

NAMES = "zoé.núñez andré straße zquill Nguyễn İsmail Иван-Петров 山田太郎 ﬁona".split()
REDACTORS = {name: Redactor([name], [f"/home/{name}"]) for name in NAMES}


def wide(text):
    return text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})


def percent(text, safe=""):
    return quote(text, safe=safe)


def utf_16(text):
    units = text.encode("utf-16-be")
    return [units[at : at + 2].hex() for at in range(0, len(units), 2)]


FORMS = {
    **{form: lambda text, form=form: unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKD")},
    **{name: getattr(str, name) for name in "upper lower casefold title swapcase".split()},
    "wide": wide,
}
CODES = {
    "none": lambda text: text,
    "percent": percent,
    "percent, small": lambda text: re.sub("%..", lambda found: found[0].lower(), percent(text)),
    "percent, every letter": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "percent, old": lambda text: "".join(f"%u{unit}" for unit in utf_16(text)),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "Python": lambda text: ascii(text)[1:-1],
    "bytes in Python": lambda text: repr(text.encode())[2:-1],
    "bytes in octal": lambda text: "".join(
        chr(byte) if byte < 128 else f"\\{byte:03o}" for byte in text.encode()
    ),
    "units": lambda text: "".join(f"\\u{unit}" for unit in utf_16(text)),
    "points": lambda text: "".join(f"\\u{{{ord(letter):x}}}" for letter in text),
    "regular expression": re.escape,
    "XML": lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    "HTML": lambda text: "".join(f"&#x{ord(letter):X};" for letter in html.escape(text)),
}
INVISIBLE = ["", "\u200b", "\x1b[1m", "\0", "\ufe0f", "\u2060\u202e"]
BEFORE = r"""
/ \n \\n \t \r %0A %20 %2F &#10; \x0a \u000a \033[31m \x1b[1;31m \u001b[0m \e[31m [31m "
""".split()
BEFORE += ["", "\n", "\x1b[31m", "\x9b31m", "\x1b[38;5;196m", "\u200b", "\ufeff", "\a", "user ", "x="]
AFTER = ["", "/x", "\\n", "%2Fdata", "%0A", "\x1b[0m", "\\u001b[0m", "\u200d", "&amp;", "@host", "\n"]

written = st.tuples(
    st.sampled_from([*FORMS.values()]),
    st.sampled_from(
        [lambda text, it=it: it.join(re.findall(r".[\u0300-\u036f]*", text)) for it in INVISIBLE]
    ),
    st.sampled_from([*CODES.values()]),
    st.sampled_from([*CODES.values()]),
)


@tried(500)
@given(st.sampled_from(NAMES), written, st.sampled_from(BEFORE), st.sampled_from(AFTER))
def test_no_writing_of_a_name_survives(name, how, before, after):
    """What stands around it stays."""
    text = name
    for step in how:
        text = step(text)
    assert REDACTORS[name].redact(before + text + after) == f"{before}<redacted>{after}"


@pytest.mark.parametrize("name", NAMES)
def test_each_form_in_each_code(name):
    """Alone, in a path, and with the code applied to the path as a whole."""
    redact = REDACTORS[name].redact
    for form, code in itertools.product(FORMS, CODES):
        there = FORMS[form](name)
        assert redact(CODES[code](there)) == "<redacted>", (form, code)
        assert redact(f"/data/{CODES[code](there)}/x") == "/data/<redacted>/x", (form, code)
        for text in CODES[code](f"/home/{there}/x"), percent(percent(f"/home/{there}/x")):
            told = redact(text)
            assert told.startswith("<redacted>"), (form, code)
            assert told.count("<redacted>") == 1, (form, code)
            assert told != text


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_token_stays(name):
    """In the same code, with a letter or a digit at either end, a name is another word."""
    for code, encode in CODES.items():
        # A letter in the form of XML ends in a semicolon, as no letter does.
        for text in (f"x{name}", f"{name}x", f"9{name}9", *[f"é{name}"] * (code != "XML")):
            there = encode(unicodedata.normalize("NFC", text))
            assert REDACTORS[name].redact(there) == there, code
    for text in (f"x{name}", f"{name}x", f"9{name}9"):
        there = unicodedata.normalize("NFD", text)
        assert REDACTORS[name].redact(there) == there


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (r"C:\new\zquill\run", r"C:\new\<redacted>\run"),
        (r"C:\Users\zo\u00e9.n\u00fa\u00f1ez\x", r"C:\Users\<redacted>\x"),
        ("zoe.nunez", "<redacted>"),
        ("zoe_nunez-ZOÉ-NÚÑEZ", "<redacted>-<redacted>"),
        ("ZoÃ©.nÃºÃ±ez", "<redacted>"),
        ("zo\\u0065\\u0301.nu\\u0301n\\u0303ez", "<redacted>"),
        ("https://x/?p=%252Fhome%252Fzquill%252Fx", "https://x/?p=<redacted>%252Fx"),
        ("https://x/?p=%252Fsrv%252Fzquill%252Fx", "https://x/?p=%252Fsrv%252F<redacted>%252Fx"),
        ("[zquill]", "[<redacted>]"),
        ("[31mzquill[0m", "[31m<redacted>[0m"),
        ("\x1b[mike", "\x1b[<redacted>"),
        ("zo%E9.n%FA%F1ez", "<redacted>"),
        ("100% of %zz, a \\ b & c; \\u12 &nothing; \\U99999999", None),
        ("\\ud83d\\ude00 \\ud83d \\u{110000} %F0%9F%98%80", None),
        ("zqu\u00adill", "<redacted>"),
        ("zquilll azquill", None),
        ("/a/Jo\\ March/b, q=Jo+March, Jo%20March", "/a/<redacted>/b, q=<redacted>, <redacted>"),
        ("p=%2Fmnt%2Fmy+disk%2Fx, /mnt/my\\ disk/x", "p=<redacted>%2Fx, <redacted>/x"),
    ],
)
def test_what_is_left(text, left):
    redactor = Redactor(["zquill", "zoé.núñez", "mike", "Jo March"], ["/home/zquill", "/mnt/my disk"])
    assert redactor.redact(text) == (text if left is None else left)


@pytest.mark.parametrize(
    "text",
    ["John Smith", "john%20smith", "John+Smith", "/Users/John\\ Smith/x", "JOHN_SMITH", "John&#32;Smith"],
)
def test_a_name_of_two_words(text):
    redact = Redactor(["John Smith"], ["/Users/John Smith"]).redact
    assert redact(text).removesuffix("/x") in {"<redacted>", "/Users/<redacted>"}
    assert redact("John and Smith, Johnsmith") == "John and Smith, Johnsmith"


def test_short_and_common_names_in_a_quoted_path():
    redactor = Redactor(["zq", "root", "server"], ["/root"])
    for text in "the zq of server", "%20server%20", "\\nroot", "zq server root":
        assert redactor.redact(text) == text
    assert redactor.redact("%2Fscratch%2Fzq%2Fx") == "%2Fscratch%2F<redacted>%2Fx"
    assert redactor.redact("\\/data\\/server\\/x") == "\\/data\\/<redacted>\\/x"
    assert redactor.redact("%252Froot%252Fx") == "<redacted>%252Fx"


@tried(300)
@given(st.text(st.sampled_from("%\\&#;[]{}=/.-_ nuxUe0123456789abAB\x1b\0\u200b\u0301é"), max_size=40))
def test_text_that_looks_quoted_stays(text):
    """Nothing that a decoding leaves can hold a letter ``q``."""
    assert Redactor(["quill", "zq"], ["/home/quill"]).redact(text) == text or "7" in unquoted(text)


def unquoted(text):
    """Give a sign that the text holds the code of a Q: 0x51 or 0x71, or 121 or 161 in octal, or 81 or 113."""
    return "7" if re.search("[57]1|1[26]1|81|113", unquote(text)) else ""


@tried(200)
@given(words(max_size=30))
def test_folding_again_changes_nothing(text):
    assert spellings.folded(spellings.folded(text)) == spellings.folded(text)


def test_the_longest_text_ends():
    redactor = REDACTORS["zquill"]
    for text in "%25" * 2700, "\\x5c" * 2000, "%" + "25" * 4000, "é" * 4000, "\x1b[0m" * 2000:
        assert redactor.redact(text) == text
    assert redactor.redact("zquill " * 1000) == "<redacted> " * 1000
    assert redactor.redact({string.ascii_letters: ["zquill", 1, None, {"zquill": "x"}]}) == {
        string.ascii_letters: ["<redacted>", 1, None, {"<redacted>": "x"}]
    }
