"""Lua's tokens.

Law of this file: it splits a text into tokens (Lua 5.1 and LuaJIT's additions) and knows no grammar.
"""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["name", "keyword", "string", "number", "sign", "end"]

_KEYWORDS = """
and break do else elseif end false for function goto if in local nil not or repeat return then true until while
"""
KEYWORDS = frozenset(_KEYWORDS.split())

_LONG_OPEN = re.compile(r"\[(=*)\[")
_TOKEN = re.compile(
    r"""(?P<space>[ \t\n]+)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>0[xX][0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?(?:[pP][+-]?[0-9]+)?(?:[uU]?[lL][lL]|[iI])?
                  |(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?:[uU]?[lL][lL]|[iI])?)
      | (?P<string>"(?:[^"\\\n]|\\(?:.|\n))*"|'(?:[^'\\\n]|\\(?:.|\n))*')
      | (?P<sign>\.\.\.|\.\.|==|~=|<=|>=|::|[-+*/%^\#<>=(){}\[\];:,.])""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\")


class LuaError(Exception):
    """The text is no Lua that is understood here."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``value`` is a string's content, and the text of any other."""

    kind: Kind
    value: str
    line: int


def tokens(text: str) -> list[Token]:
    """All tokens without spaces and comments, and one of kind ``end``.

    Raises:
        LuaError: something is no token.
    """
    found: list[Token] = []
    at, line = 0, 1
    while at < len(text):
        start = at
        if text.startswith("--", at):
            at = _comment_end(text, at, line)
        elif long := _LONG_OPEN.match(text, at):
            at = _long_end(text, long, line)
            found.append(Token("string", text[long.end() : at - len(long[0])], line))
        elif matched := _TOKEN.match(text, at):
            at = matched.end()
            if matched.lastgroup != "space":
                found.append(_token(matched, line))
        else:
            raise LuaError(line, f"unexpected {text[at]!r}")
        line += text.count("\n", start, at)
    found.append(Token("end", "the end of the file", line))
    return found


def _token(matched: re.Match[str], line: int) -> Token:
    value = matched[0]
    match matched.lastgroup:
        case "name":
            return Token("keyword" if value in KEYWORDS else "name", value, line)
        case "string" if not _ESCAPED.search(value):
            return Token("string", value[1:-1], line)
        case "string":
            return Token("string", value, line)  # nothing that is looked for here is written with an escape
        case "number":
            return Token("number", value, line)
        case _:
            return Token("sign", value, line)


def _comment_end(text: str, at: int, line: int) -> int:
    if long := _LONG_OPEN.match(text, at + 2):
        return _long_end(text, long, line)
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _long_end(text: str, opened: re.Match[str], line: int) -> int:
    close = f"]{opened[1]}]"
    end = text.find(close, opened.end())
    if end < 0:
        raise LuaError(line, f"{opened[0]} is never closed")
    return end + len(close)
