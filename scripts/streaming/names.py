"""What a Lua module takes from outside of itself.

Law of this file: it follows Lua's scopes and reports; what is allowed is decided elsewhere. The grammar is that of
Lua 5.1 with goto; code that Lua would refuse may pass, since a compiler reads it as well.
"""

from dataclasses import dataclass, field

from streaming.lexer import LuaError, Token, tokens

_BINARY = frozenset({"+", "-", "*", "/", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", "and", "or"})
_UNARY = frozenset({"not", "-", "#"})
_LITERALS = frozenset({"nil", "true", "false"})


@dataclass(frozen=True, slots=True)
class Use:
    """A global name with what is taken from it, ``ngx.socket.tcp`` or ``kong.cache:get``, or a module's name.

    ``tested``: what follows it is ``or`` or ``and``, so that the module can do without it.
    """

    name: str
    line: int
    tested: bool = False


@dataclass(slots=True)
class Outside:
    """Everything that a module takes from outside.

    Attributes:
        reads: global names, with the members that are taken from them.
        writes: assignments to global names, or to their members.
        requires: of a name that is written out, where the module is loaded.
        inner_requires: the same within a function.
        tried_requires: ``pcall(require, "name")``, which may fail.
        odd_requires: any other use of ``require``; a local of that name stands for the same.
        words: every name and every key that is written, of whatever use.
    """

    reads: list[Use] = field(default_factory=list)
    writes: list[Use] = field(default_factory=list)
    requires: list[Use] = field(default_factory=list)
    inner_requires: list[Use] = field(default_factory=list)
    tried_requires: list[Use] = field(default_factory=list)
    odd_requires: list[Use] = field(default_factory=list)
    words: list[Use] = field(default_factory=list)


def outside(text: str) -> Outside:
    """Reads a whole module.

    Raises:
        LuaError: it is no Lua that is understood here.
    """
    reader = _Reader(tokens(text))
    reader.body()
    reader.expect("the end of the file")
    return reader.found


class _Reader:
    def __init__(self, stream: list[Token]) -> None:
        self.found = Outside(words=[Use(token.value, token.line) for token in stream if token.kind == "name"])
        self._stream = stream
        self._at = 0
        self._scopes: list[set[str]] = [set()]
        self._depth = 0  # of functions

    # ---- tokens -----------------------------------------------------------------------------------------------

    @property
    def _here(self) -> Token:
        return self._stream[self._at]

    @property
    def _following(self) -> tuple[str, str]:
        token = self._stream[self._at + 1]
        return token.kind, token.value

    def _next(self) -> Token:
        self._at += 1
        return self._stream[self._at - 1]

    def _is(self, *values: str) -> bool:
        return self._here.kind in ("keyword", "sign", "end") and self._here.value in values

    def _take(self, value: str) -> bool:
        if self._is(value):
            self._next()
            return True
        return False

    def expect(self, value: str) -> None:
        if not self._is(value):
            raise LuaError(self._here.line, f"expected {value!r}, found {self._here.value!r}")
        if self._here.kind != "end":
            self._next()

    def _name(self) -> str:
        if self._here.kind != "name":
            raise LuaError(self._here.line, f"expected a name, found {self._here.value!r}")
        return self._next().value

    # ---- scopes -----------------------------------------------------------------------------------------------

    def _declare(self, *names: str) -> None:
        self._scopes[-1].update(names)

    def body(self, *names: str) -> None:
        """A block with these names in it, to the token that ends it."""
        self._scopes.append(set(names))
        while not self._is("end", "else", "elseif", "until", "the end of the file"):
            self._statement()
        self._scopes.pop()

    # ---- statements -------------------------------------------------------------------------------------------

    def _statement(self) -> None:
        statement = {
            "if": self._if,
            "while": self._while,
            "do": self._do,
            "for": self._for,
            "repeat": self._repeat,
            "function": self._function,
            "local": self._local,
            "return": self._return,
        }.get(self._here.value if self._here.kind == "keyword" else "")
        if statement is not None:
            self._next()
            statement()
        elif self._take(";") or self._take("break"):
            pass
        elif self._take("goto"):
            self._name()
        elif self._take("::"):
            self._name()
            self.expect("::")
        else:
            self._assignment_or_call()

    def _if(self) -> None:
        self._expression()
        self.expect("then")
        self.body()
        if self._take("elseif"):
            self._if()
            return
        if self._take("else"):
            self.body()
        self.expect("end")

    def _while(self) -> None:
        self._expression()
        self.expect("do")
        self._do()

    def _do(self) -> None:
        self.body()
        self.expect("end")

    def _for(self) -> None:
        names = self._names()
        if not self._take("="):
            self.expect("in")
        self._expressions()
        self.expect("do")
        self.body(*names)
        self.expect("end")

    def _repeat(self) -> None:
        self._scopes.append(set())
        while not self._is("until", "the end of the file"):
            self._statement()
        self.expect("until")
        self._expression()  # sees the block's locals
        self._scopes.pop()

    def _function(self) -> None:
        first = self._here
        path = self._name()
        method = False
        while not method and self._is(".", ":"):
            method = self._next().value == ":"
            path += "." + self._name()
        self._write(first, path)
        self._function_body(*(["self"] if method else []))

    def _function_body(self, *names: str) -> None:
        self.expect("(")
        parameters = list(names)
        while not self._take(")"):
            if not (self._take("...") or self._take(",")):
                parameters.append(self._name())
        self._depth += 1
        self.body(*parameters)
        self._depth -= 1
        self.expect("end")

    def _local(self) -> None:
        if self._take("function"):
            self._declare(self._name())
            self._function_body()
            return
        names = self._names()
        odd_before = len(self.found.odd_requires)
        if self._take("="):
            self._expressions()
        if "require" in names:
            del self.found.odd_requires[odd_before:]
        self._declare(*names)  # after the values: `local type = type` takes the global

    def _return(self) -> None:
        if not self._is("end", "else", "elseif", "until", ";", "the end of the file"):
            self._expressions()
        self._take(";")

    def _assignment_or_call(self) -> None:
        targets = [self._target()]
        while self._take(","):
            targets.append(self._target())
        assigned = self._take("=")
        if assigned:
            self._expressions()
        for first, path in targets:
            if path and assigned:
                self._write(first, path)
            elif path:
                self._read(first, path)

    def _target(self) -> tuple[Token, str]:
        """A suffixed expression; its path only where it is nothing but names, so that it may be assigned to."""
        first = self._here
        path = self._primary()
        path, plain = self._suffixes(first, path)
        return first, path if plain else ""

    def _names(self) -> list[str]:
        names = [self._name()]
        while self._take(","):
            names.append(self._name())
        return names

    # ---- expressions ------------------------------------------------------------------------------------------

    def _expressions(self) -> None:
        self._expression()
        while self._take(","):
            self._expression()

    def _expression(self) -> None:
        while self._is(*_UNARY):
            self._next()
        self._operand()
        while self._is(*_BINARY):
            self._next()
            self._expression()

    def _operand(self) -> None:
        if self._here.kind in ("string", "number") or self._is("...", *_LITERALS):
            self._next()
        elif self._take("function"):
            self._function_body()
        elif self._is("{"):
            self._table()
        else:
            first, path = self._target()
            if path:
                self._read(first, path)

    def _primary(self) -> str:
        if self._take("("):
            self._expression()
            self.expect(")")
            return ""
        return self._name()

    def _suffixes(self, first: Token, path: str) -> tuple[str, bool]:
        """Reads ``.name``, ``[key]``, ``:name(...)`` and calls; the path ends where it is not of names alone."""
        plain = bool(path)
        while True:
            if self._take("."):
                name = self._name()
                path += f".{name}" if plain else ""
                continue
            called = self._is("(", "{") or self._here.kind == "string"
            if not called and not self._is("[", ":"):
                return path, plain
            if plain and path == "require" and called and self._is_global(first):
                self._require(first)
            elif path == "pcall" and self._tries_require():
                pass
            elif self._take("["):
                self._expression()
                self.expect("]")
                self._end_path(first, path, plain=plain)
            else:
                if self._take(":"):
                    name = self._name()
                    path += f":{name}" if plain else ""
                    called = self._is("(", "{") or self._here.kind == "string"
                    if not called:
                        raise LuaError(self._here.line, "expected arguments of a method")
                self._end_path(first, path, plain=plain)
                self._arguments()
            plain = False

    def _end_path(self, first: Token, path: str, *, plain: bool) -> None:
        if plain:
            self._read(first, path)

    def _arguments(self) -> None:
        if self._here.kind == "string":
            self._next()
        elif self._is("{"):
            self._table()
        else:
            self.expect("(")
            if not self._is(")"):
                self._expressions()
            self.expect(")")

    def _table(self) -> None:
        self.expect("{")
        while not self._take("}"):
            if self._take("["):
                self._expression()
                self.expect("]")
                self.expect("=")
            elif self._here.kind == "name" and self._following == ("sign", "="):
                self._name()
                self.expect("=")
            self._expression()
            if not (self._take(",") or self._take(";")) and not self._is("}"):
                raise LuaError(self._here.line, f"expected '}}', found {self._here.value!r}")

    # ---- findings ---------------------------------------------------------------------------------------------

    def _is_global(self, first: Token) -> bool:
        if first.value == "require":
            return True
        return first.kind == "name" and not any(first.value in scope for scope in self._scopes)

    def _read(self, first: Token, path: str) -> None:
        if not self._is_global(first):
            return
        if first.value == "require":
            self.found.odd_requires.append(Use(path, first.line))
        else:
            self.found.reads.append(Use(path, first.line, tested=self._is("or", "and")))

    def _write(self, first: Token, path: str) -> None:
        if self._is_global(first):
            self.found.writes.append(Use(path, first.line))

    def _tries_require(self) -> bool:
        """Takes ``(require, "name")`` where that is what stands here."""
        ahead = self._stream[self._at : self._at + 5]
        given = ahead[3] if len(ahead) == 5 else self._here  # noqa: PLR2004 - as many as below
        if [token.value for token in ahead] != ["(", "require", ",", given.value, ")"] or given.kind != "string":
            return False
        self._at += len(ahead)
        self.found.tried_requires.append(Use(given.value, given.line))
        return True

    def _require(self, first: Token) -> None:
        start = self._at
        self._arguments()
        given = [token for token in self._stream[start : self._at] if token.value not in ("(", ")")]
        if len(given) == 1 and given[0].kind == "string":
            place = self.found.inner_requires if self._depth else self.found.requires
            place.append(Use(given[0].value, first.line))
        else:
            self.found.odd_requires.append(Use("require", first.line))
