"""What went wrong with Redis, in a sentence for an operator.

Law of this file: of what a server writes only its error code, and a command's name, are repeated; the rest may
quote what it was asked, secrets among it.
"""

import os
import re
import ssl
from typing import Final, NamedTuple

from redis import exceptions as foreign

from validator.core.redis_url import RedisEndpoint, Topology


class Trouble(NamedTuple):
    """Why a call failed.

    Attributes:
        outcome: a metric's value.
        told: for the log.
        lost: whether the server that was asked may no longer be the one to ask.
    """

    outcome: str
    told: str
    lost: bool


TIMEOUT: Final = "timeout"
UNREACHABLE: Final = "unreachable"
REFUSED: Final = "refused"
NONSENSE: Final = "nonsense"
BUSY: Final = "busy"
OUTCOMES: Final = ("ok", TIMEOUT, UNREACHABLE, REFUSED, NONSENSE, BUSY)

FOREIGN: Final = (foreign.RedisError, OSError, EOFError, ValueError, LookupError, TypeError, RecursionError)
"""What a conversation with a server may end in, ``AuthError`` apart."""

# Error codes of Redis, in the order in which they are looked for. Before version 7 what fails within a script is
# wrapped into "ERR Error running script", with the code in the middle.
_CODES: Final = {
    "READONLY": ("it is a read-only replica", True),
    "LOADING": ("it is still loading its data", True),
    "MASTERDOWN": ("it is a replica that has lost its master", True),
    "CLUSTERDOWN": ("the Cluster is down, or nobody in it holds this slot", True),
    "UNBLOCKED": ("it was made a replica", True),
    "TRYAGAIN": ("the keys are being moved to another node", True),
    "ASK": ("the keys are being moved to another node", True),
    "OOM": ("it is out of memory: raise maxmemory", False),
    "MISCONF": ("it cannot save to its disk, and so takes no writes", False),
    "NOREPLICAS": ("it has too few replicas to take writes", False),
    "BUSY": ("a script of somebody's has been running for too long", False),
    "CROSSSLOT": ("keys of one call are in several slots", False),
    "WRONGTYPE": ("a key holds something else: is redis.prefix in use by another program?", False),
}
_CODE_OF: Final = {  # redis-py takes the code away where it has a class for it
    foreign.ReadOnlyError: "READONLY",
    foreign.MasterDownError: "MASTERDOWN",
    foreign.ClusterDownError: "CLUSTERDOWN",
    foreign.TryAgainError: "TRYAGAIN",
    foreign.OutOfMemoryError: "OOM",
    foreign.ClusterCrossSlotError: "CROSSSLOT",
    foreign.NoPermissionError: "NOPERM",
    foreign.MovedError: "MOVED",  # before the class that it is derived from
    foreign.AskError: "ASK",
}
_CODE: Final = re.compile(r"(?:^|-)(" + "|".join(_CODES) + r")\b")
_ANY_CODE: Final = re.compile(r"[A-Z]{2,20}\b")
_COMMAND: Final = re.compile(r"'([a-z|_.]{1,40})'")


def trouble(error: BaseException, endpoint: RedisEndpoint) -> Trouble:
    """What an error of redis-py's, of the operating system's or of our own reading means."""
    if isinstance(error, TimeoutError | foreign.TimeoutError):
        return Trouble(TIMEOUT, "no answer in time", lost=True)
    if isinstance(error, foreign.AuthenticationError | foreign.AuthenticationWrongNumberOfArgsError):
        return Trouble(REFUSED, _unauthenticated(endpoint), lost=True)
    if isinstance(error, foreign.BusyLoadingError):
        return Trouble(REFUSED, _CODES["LOADING"][0], lost=True)
    if isinstance(error, foreign.ResponseError):
        return _refused(error, endpoint)
    if isinstance(error, foreign.ConnectionError | OSError | EOFError):
        return Trouble(UNREACHABLE, _unreachable(error), lost=True)
    if isinstance(error, foreign.InvalidResponse | ValueError | LookupError | TypeError | RecursionError):
        return Trouble(NONSENSE, "it answers what Redis would not", lost=True)
    return Trouble(NONSENSE, type(error).__name__, lost=True)


def _unauthenticated(endpoint: RedisEndpoint) -> str:
    if endpoint.topology is Topology.SENTINEL:
        which = (
            "redis.username and redis.password, or for a Sentinel redis.sentinel_username and sentinel_password"
        )
    else:
        which = "redis.username and redis.password"
    given = "does not accept the user or password" if endpoint.password else "asks for a password"
    return f"it {given}: see {which}"


def _refused(error: foreign.ResponseError, endpoint: RedisEndpoint) -> Trouble:
    code = next((code for kind, code in _CODE_OF.items() if isinstance(error, kind)), "")
    text = f"{code} {error}".strip()
    if "cluster support disabled" in text:
        return Trouble(REFUSED, "it is no node of a Cluster: write redis:// in redis.url", lost=True)
    if text.startswith("MOVED") or "not allowed in cluster mode" in text:
        if endpoint.topology is Topology.CLUSTER:
            return Trouble(REFUSED, "no agreement in the Cluster on who holds this slot", lost=True)
        return Trouble(REFUSED, "it is a node of a Cluster: write redis+cluster:// in redis.url", lost=True)
    if "NOPERM" in text or "can't run this command" in text or "No permissions" in text:
        return Trouble(REFUSED, f"the ACL of its user does not permit {_forbidden(text)}", lost=False)
    if "DB index is out of range" in text or "invalid DB index" in text:
        return Trouble(REFUSED, f"it has no database {endpoint.db}", lost=True)
    if "unknown command" in text or "unknown subcommand" in text:
        command = _COMMAND.search(text.lower())
        return Trouble(REFUSED, f"it does not know the command {command[1] if command else '?'}", lost=False)
    if (known := _CODE.search(text)) is not None:
        told, lost = _CODES[known[1]]
        return Trouble(REFUSED, told, lost)
    other = _ANY_CODE.match(text)
    return Trouble(REFUSED, f"it answers with the error {other[0] if other else 'ERR'}", lost=False)


def _forbidden(text: str) -> str:
    if (command := _COMMAND.search(text)) is not None:
        return f"the command {command[1]}"
    if re.search(r"\bkeys?\b", text):
        return "the keys that begin with redis.prefix in braces"
    return "a command that a script of ours runs"  # some versions do not say which


def _unreachable(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message}): see redis.ca_file"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason or 'no reason given'}): is it rediss:// or redis://?"
        if isinstance(cause, OSError) and cause.strerror:
            number = cause.errno or 0
            return os.strerror(number) if number > 0 else cause.strerror
        cause = cause.__cause__ or cause.__context__
    if "max number of clients" in str(error):
        return "it has too many clients: see maxclients"
    return "the connection was lost"
