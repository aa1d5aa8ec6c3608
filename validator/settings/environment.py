"""Settings from the environment, laid over those of the file.

Law of this file: ``VALIDATOR__A__B`` sets ``a.b``, and a variable with that prefix is never ignored. Names
match existing keys without regard to case, with ``-``, ``.`` and ``_`` equal, since shells allow no others.
"""

from collections.abc import Mapping as AnyMapping

from validator.settings.document import Document, Mapping, Sequence, UnreadableError, load, scalar
from validator.settings.mistakes import Mistake, Path, dotted

PREFIX = "VALIDATOR__"
_KONNECT = "KONG_API_TOKENS"

_MAX_LEVELS = 16
_MAX_DIGITS = 7  # of an index; bounds what is converted
# Text that is taken as it stands: a secret may begin with any character, and [::1]:8100 is no YAML list.
_LITERAL: frozenset[Path] = frozenset(
    {
        ("listen", "data"), ("listen", "control"), ("listen", "dcr"),
        ("control", "token"), ("session", "keys"), ("dcr", "api_keys"), ("dcr", "sealing_keys"),
        ("redis", "url"), ("redis", "username"), ("redis", "password"),
        ("redis", "sentinel_username"), ("redis", "sentinel_password"),
    }
)  # fmt: skip
# Of whichever strategy.
_LITERAL_OF_STRATEGIES: frozenset[Path] = frozenset(
    {("introspection", "client_secret"), ("registration", "initial_access_token")}
)


def overlay(document: Document, environ: AnyMapping[str, str]) -> list[Mistake]:
    """Writes every variable with the prefix into the document; returns what is wrong with them."""
    mistakes: list[Mistake] = []
    variables = [name for name in environ if name.upper().startswith(PREFIX)]
    written: dict[Path, str] = {}
    # A whole section first, so that single values in it win.
    for name in sorted(variables, key=lambda name: (name.count("__"), name)):
        try:
            path = _write(document, name, environ[name])
        except UnreadableError as error:
            mistakes.append(
                Mistake(name, None, "", error.found, error.expected, f"{PREFIX}LISTEN__DATA=127.0.0.1:8100")
            )
            continue
        if path in written:
            mistakes.append(
                Mistake(name, None, dotted(path), f"{written[path]} as well", "one variable for a setting")
            )
        written[path] = name
    _konnects_keys(document, environ)
    return mistakes


def _konnects_keys(document: Document, environ: AnyMapping[str, str]) -> None:
    """The variable that Kong's reference handler of the bridge reads its keys from, where the bridge is configured
    and has none."""
    keys, listen, dcr = environ.get(_KONNECT), document.data.get("listen"), document.data.get("dcr")
    listens = isinstance(listen, Mapping) and listen.get("dcr") is not None
    if not keys or not (listens or isinstance(dcr, Mapping)):
        return
    if dcr is None:
        dcr = document.data["dcr"] = Mapping(document.data.line)
    if isinstance(dcr, Mapping) and not any(dcr.get(name) is not None for name in ("api_keys", "api_keys_file")):
        dcr["api_keys"] = keys
        document.origins["dcr", "api_keys"] = _KONNECT


def _write(document: Document, name: str, text: str) -> Path:
    segments = name[len(PREFIX) :].split("__")
    if not all(segments) or len(segments) > _MAX_LEVELS:
        raise UnreadableError(
            None, "a variable that names no setting", "section and setting with two underscores between"
        )
    lowered = tuple(segment.lower() for segment in segments)
    literal = lowered in _LITERAL or (lowered[0] == "strategies" and lowered[2:] in _LITERAL_OF_STRATEGIES)
    value = _value(text, literal=literal)  # first, so that a bad one leaves no half-made section behind
    node: Mapping | Sequence = document.data
    path: Path = ()
    for segment in segments[:-1]:
        key = _key(node, segment)
        path = (*path, key)
        child = _get(node, key)
        if child is None:
            child = Mapping(document.locate(path)[1] or 1)
            _set(node, key, child)
            document.origins[path] = name
        if not isinstance(child, Mapping | Sequence):
            raise UnreadableError(
                None, f"a setting within {dotted(path)}", "the name of a setting; this one has no parts"
            )
        node = child
    key = _key(node, segments[-1])
    path = (*path, key)
    _set(node, key, value)
    document.origins[path] = name
    return path


def _value(text: str, *, literal: bool) -> object:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnreadableError(None, "what is not UTF-8", "text in UTF-8") from None
    if literal:
        return text
    if not text.lstrip().startswith(("[", "{", '"', "'")):
        return scalar(text.strip())
    try:
        value, duplicates = load(text)
    except UnreadableError as error:
        expected = "a YAML value; text that begins with a bracket or a quote needs quotes around it"
        raise UnreadableError(None, error.found, expected) from None
    if duplicates:
        raise UnreadableError(None, f"the key {dotted(duplicates[0][0])} twice", "each key once")
    return value


def _key(node: Mapping | Sequence, segment: str) -> str | int:
    if isinstance(node, Sequence):
        if segment.isascii() and segment.isdigit() and len(segment) <= _MAX_DIGITS and int(segment) <= len(node):
            return int(segment)
        raise UnreadableError(None, "an entry that the list does not have", f"a number from 0 to {len(node)}")
    if segment in node:
        return segment
    matching = [key for key in node if _plain(key) == _plain(segment)]
    if len(matching) > 1:
        raise UnreadableError(
            None, f"a name that fits {' and '.join(matching)}", "names that differ by more than - . _"
        )
    return matching[0] if matching else segment.lower()


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _get(node: Mapping | Sequence, key: str | int) -> object:
    if isinstance(node, Sequence):
        return node[key] if isinstance(key, int) and key < len(node) else None
    return node.get(str(key))


def _set(node: Mapping | Sequence, key: str | int, value: object) -> None:
    if isinstance(node, Mapping):
        node[str(key)] = value
    elif isinstance(key, int) and key < len(node):
        node[key] = value
    else:
        node.append(value)
