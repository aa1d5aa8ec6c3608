"""What to do about a refusal, for the developer who sends the request or the operator who configured the strategy.

Law of this package: advice alone; it decides nothing and repeats no check. Requests are printed ready to paste,
with a placeholder for every secret.
"""

from collections.abc import Callable, Mapping

from validator.model import Reason
from validator.remedies import applications, issuers, tokens
from validator.remedies.situation import Situation

__all__ = ["Situation", "remedy"]

_REMEDIES: Mapping[Reason, Callable[[Situation], list[str]]] = {
    Reason.NO_CREDENTIAL: applications.no_credential,
    Reason.MALFORMED_CREDENTIAL: applications.malformed,
    Reason.MULTIPLE_CREDENTIALS: applications.malformed,
    Reason.METHOD_NOT_ENABLED: applications.method,
    Reason.TOKEN_MALFORMED: tokens.malformed,
    Reason.TOKEN_ENCRYPTED: tokens.encrypted,
    Reason.ALGORITHM_NOT_ALLOWED: tokens.algorithm,
    Reason.KEY_UNKNOWN: tokens.key_unknown,
    Reason.SIGNATURE_INVALID: tokens.signature,
    Reason.TOKEN_EXPIRED: tokens.expired,
    Reason.TOKEN_NOT_YET_VALID: tokens.not_yet_valid,
    Reason.ISSUER_MISMATCH: issuers.issuer_mismatch,
    Reason.AUDIENCE_MISMATCH: tokens.audience,
    Reason.TOKEN_TYPE_WRONG: tokens.token_type,
    Reason.SCOPE_MISSING: tokens.scope,
    Reason.CLAIM_MISSING: tokens.claim,
    Reason.TOKEN_FOR_GRAPH: tokens.graph,
    Reason.TOKEN_INACTIVE: tokens.inactive,
    Reason.CREDENTIALS_REJECTED: applications.rejected,
    Reason.SESSION_INVALID: applications.session,
    Reason.SESSION_EXPIRED: applications.session,
    Reason.REVOKED: applications.revoked,
    Reason.APPLICATION_UNKNOWN: applications.unknown,
    Reason.APPLICATION_INACTIVE: applications.not_active,
    Reason.NOT_REGISTERED: applications.not_registered,
    Reason.TOO_MANY_ATTEMPTS: applications.too_many,
    Reason.IDP_UNAVAILABLE: applications.idp_unavailable,
    Reason.STORE_UNAVAILABLE: applications.store_unavailable,
}


def remedy(situation: Situation) -> list[str]:
    """What to do, line by line; indented lines are to be pasted. Empty where there is nothing to advise."""
    advise = _REMEDIES.get(situation.error.reason)
    return advise(situation) if advise is not None else []
