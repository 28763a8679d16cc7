"""Cutting URLs out of what people and programs write: plain text, HTML, something between the two.

Pure. Every pass reads the text once, so the time grows with its length only. Of HTML the text and the href of
<a> count; scripts, styles, comments and every other attribute do not. Nothing is rendered, nothing is run.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

# More than any invitation holds; a text made of nothing but addresses costs little more than its reading.
MAX_URLS = 500

_TAG = re.compile(r"<!--|-->|<(/?)([A-Za-z][A-Za-z0-9]{0,30}(?::[A-Za-z]{1,30})?)(?=[\s/>])([^<>]*)>")
_ATTRIBUTE = re.compile(r"""(?<![^\s"'/])([A-Za-z-]{1,40})\s{0,9}=\s{0,9}("[^"]*"|'[^']*'|[^\s"']+)""")
_LINKS = re.compile(r"(?:https?|zoommtg|msteams):", re.IGNORECASE)  # an href that may count
_SILENT = frozenset({"script", "style", "template", "title", "iframe", "object"})
_INLINE = frozenset({"b", "i", "u", "em", "strong", "span", "font", "wbr", "mark", "small"})
# With the semicolon only: else `&copy=1` in a URL would become a sign. Bounded: int() refuses long numbers.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

# Google's block of joining details stands between two such lines, whatever language is between them.
_BLOCK = re.compile(r"-::~[:~]{8,200}-")

_STOP = r"\s<>\"\\`^{}|\[\]\x00-\x1f\x7f，。、；：！？（）「」『』【】《》“”„‘’«»…"
_BEFORE = r"\s(\[{<>\"'`,;:!|*_，。、；：！？（「『【《“„‘«»”’…–—•·"  # what a bare host may follow
_URL = re.compile(
    r"(?:(?<![A-Za-z0-9@/%=&?#.~+$-])|(?<=\\[nrtNRT]))(?:https?://|zoommtg:|msteams:)[^" + _STOP + "]*"
    r"|(?:^|(?<=[" + _BEFORE + r"]))[A-Za-z0-9][A-Za-z0-9.-]{3,252}(?::[0-9]{1,5})?/[^" + _STOP + "]*",
    re.IGNORECASE,
)
_LIST = re.compile(r"[,;](?=https?://)", re.IGNORECASE)
_ASCII = re.compile(r"[!-~]*")
# Soft hyphen, zero widths, direction marks, word joiners, byte order mark.
_INVISIBLE = "".join(map(chr, (0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF)))
_TRAILING = ").,;:!?]}>'*" + _INVISIBLE
_LATIN = re.compile(f"[\u00c0-\u024f{_INVISIBLE}]")


@dataclass(frozen=True)
class Cut:
    """One URL text, and whether it stood inside Google's block."""

    url: str
    in_block: bool


def cut(text: str) -> tuple[Cut, ...]:
    """A text or HTML -> the texts in it that may be URLs, in order of appearance, each once and at most
    MAX_URLS; the one in Google's block stands for its doubles elsewhere."""
    plain = flat(text)
    start, end = _block(plain)
    found: dict[str, bool] = {}
    for at, url in _urls(plain):
        found[url] = found.get(url, False) or start <= at < end
        if len(found) == MAX_URLS:
            break
    return tuple(Cut(url, inside) for url, inside in found.items())


def flat(text: str) -> str:
    """HTML -> its text with the addresses of its links, entities decoded once; plain text stays itself."""
    if "<" in text:
        text = "".join(_pieces(text))
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(entity: re.Match[str]) -> str:
    return "&" if entity[0] == "&amp;" else html.unescape(entity[0])


def _pieces(text: str) -> Iterator[str]:
    at, silent = 0, ""  # silent: what must come before text counts again
    for tag in _TAG.finditer(text):
        name = (tag[2] or tag[0]).lower()
        if not silent:
            yield text[at : tag.start()]
            if name not in _INLINE:  # <b> does not part a word from the next
                yield _shown(tag, name)
                silent = _silenced(tag, name)
        elif name == silent and (tag[1] or name == "-->"):
            silent = ""
        at = tag.end()
    if not silent:
        yield text[at:]


def _silenced(tag: re.Match[str], name: str) -> str:
    """What has to come to end the silence that this tag begins, or nothing."""
    if name == "<!--":
        return "-->"
    return name if name in _SILENT and not tag[1] else ""


def _shown(tag: re.Match[str], name: str) -> str:
    value = _href(tag[3]) if name == "a" and not tag[1] else ""
    return f" {value} " if _LINKS.match(value) else " "


def _href(attributes: str) -> str:
    for found in _ATTRIBUTE.finditer(attributes):
        if found[1].lower() == "href":
            return found[2].strip("\"' \t\r\n")
    return ""


def _block(text: str) -> tuple[int, int]:
    lines = _BLOCK.finditer(text)
    first, second = next(lines, None), next(lines, None)
    return (first.end(), second.start()) if first and second else (0, 0)


def _urls(text: str) -> Iterator[tuple[int, str]]:
    for found in _URL.finditer(text):
        for piece in _LIST.split(found[0]):
            if url := _trimmed(piece):
                yield found.start(), url


def _trimmed(piece: str) -> str:
    """Without the punctuation of the sentence around it. A URL ends where another script begins; one with an
    accented or invisible character inside would be another URL when cut there, so it is dropped."""
    piece = piece.rstrip(_TRAILING)
    if piece.isascii():
        return piece
    if _LATIN.search(piece):
        return ""
    head = _ASCII.match(piece)
    return head[0].rstrip(_TRAILING) if head else ""
