"""What the tests of the imitations share.

Law of this file: plain HTTP and a reader of tokens, neither of them the product's.
"""

import json
from base64 import b64encode, urlsafe_b64decode
from typing import Any, cast

import aiohttp
import jwt

Reply = tuple[int, dict[str, Any]]


class Http:
    """Small calls that bring the status and the JSON body; ``headers`` are those of the last reply."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.headers: dict[str, str] = {}
        self.text = ""

    async def call(self, method: str, url: str, **options: Any) -> Reply:
        async with self._session.request(method, url, allow_redirects=False, **options) as reply:
            self.headers, self.text = dict(reply.headers), await reply.text()
            is_json = reply.content_type == "application/json" and self.text
            return reply.status, json.loads(self.text) if is_json else {}

    async def get(self, url: str, **options: Any) -> dict[str, Any]:
        status, document = await self.call("GET", url, **options)
        assert status == 200, document
        return document

    async def post(self, url: str, **options: Any) -> Reply:
        return await self.call("POST", url, **options)

    async def grant(
        self, url: str, client_id: str, secret: str = "s3cret", *, basic: bool = False, **form: str
    ) -> Reply:
        """The client credentials grant by post, or by Basic (for ids and secrets that need no encoding)."""
        if basic:
            data = {"grant_type": "client_credentials", **form}
            return await self.post(url, data=data, headers=basic_header(client_id, secret))
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, **form}
        return await self.post(url, data=form)


def basic_header(client_id: str, secret: str = "s3cret") -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{client_id}:{secret}".encode()).decode()}


def header_of(token: str) -> dict[str, Any]:
    return _json(token.split(".", maxsplit=1)[0])


def claims_of(token: str) -> dict[str, Any]:
    return _json(token.split(".")[1])


def verified(token: str, jwks: dict[str, Any]) -> dict[str, Any]:
    """The claims, by PyJWT's own high-level path.

    Raises:
        KeyError: no such key.
        jwt.InvalidSignatureError: not signed by it.
    """
    keys = jwt.PyJWKSet.from_dict(jwks)
    off = dict.fromkeys(("verify_aud", "verify_exp", "verify_iat", "verify_nbf"), False)
    header = jwt.get_unverified_header(token)
    options = cast("Any", off)
    return jwt.decode(token, keys[header["kid"]], algorithms=["RS256"], options=options)


def _json(part: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return document
