"""JSON-RPC to a node of a chain: bounded in time and size, with retries, and without keys in what it says."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from eth_abi.exceptions import DecodingError
from web3 import AsyncWeb3
from web3.exceptions import BadFunctionCallOutput, ContractLogicError, Web3Exception, Web3RPCError
from web3.middleware import AttributeDictMiddleware, ExtraDataToPOAMiddleware
from web3.providers.async_base import AsyncJSONBaseProvider

from edgelake.errors import TimeoutExpiredError, error
from edgelake.metadata.chain.options import shown_url

log = logging.getLogger(__name__)

REQUEST_S = 15.0
READ_ATTEMPTS = 3
BACK_OFF_S = 0.25
LONGEST_ANSWER_BYTES = 64 << 20
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_SENDS = "eth_sendRawTransaction"
_REVERTED = re.compile(r"^execution reverted:?\s*|^revert(ed)?:?\s*", re.IGNORECASE)


class HttpProvider(AsyncJSONBaseProvider):
    """A provider of web3 over one kept connection.

    web3's own opens a connection for each request, keeps a thread pool, reads answers of any length, and its errors
    name the address with the access key in it. Requests that only read are tried again; what a transaction that was
    sent without an answer became is for the sender to find out.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.global_ccip_read_enabled = False  # no contract makes this node ask addresses of its choice
        self._url = url
        self.shown = shown_url(url)
        self._session: ClientSession | None = None

    async def make_request(self, method: Any, params: Any) -> Any:
        """One request. Raises EdgeLakeError (81)."""
        body = self.encode_rpc_request(method, params)
        attempts = 1 if method == _SENDS else READ_ATTEMPTS
        for attempt in range(1, attempts + 1):
            reason, again = "", True
            try:
                async with asyncio.timeout(REQUEST_S):
                    status, raw = await self._post(body)
                answer = self._decoded(raw)
                if status < 400 and answer is not None:
                    return answer
                if answer is not None and "error" in answer and status not in _RETRIED:
                    return answer  # some say by the status, too, that the call failed
                reason = f"HTTP status {status}" if status >= 400 else "the answer is no JSON-RPC"
                again = status in _RETRIED
            except TimeoutError:
                reason = f"no answer within {REQUEST_S:g} seconds"
            except (ClientError, OSError) as problem:  # the text of either may hold the address
                cause = getattr(problem, "os_error", problem)
                reason = getattr(cause, "strerror", None) or type(problem).__name__
            if not again or attempt == attempts:
                raise error(81, f"{self.shown}: {reason}", hint="check the provider, and that the chain runs")
            log.debug("%s: %s: %s, again", self.shown, method, reason)
            await asyncio.sleep(BACK_OFF_S * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))
        raise AssertionError("unreachable")

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        if self._session is None:
            self._session = ClientSession(timeout=ClientTimeout(total=REQUEST_S))
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
            data = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                data += piece
                if len(data) > LONGEST_ANSWER_BYTES:
                    raise error(81, f"{self.shown}: an answer of more than {LONGEST_ANSWER_BYTES >> 20} MiB")
            return response.status, bytes(data)

    def _decoded(self, raw: bytes) -> dict[str, Any] | None:
        try:
            answer = self.decode_rpc_response(raw)
        except (ValueError, RecursionError):
            return None
        return dict(answer) if isinstance(answer, dict) else None

    async def disconnect(self) -> None:
        """Close the connection. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def web3_over(provider: HttpProvider) -> AsyncWeb3[Any]:
    """A web3 with nothing in between but what makes blocks of every kind of chain readable."""
    quiet = logging.getLogger("web3")
    if quiet.level == logging.NOTSET:
        quiet.setLevel(logging.WARNING)  # its other levels print whole requests and answers
    middleware = [(AttributeDictMiddleware, "attrdict"), (ExtraDataToPOAMiddleware, "poa")]
    return AsyncWeb3(provider, middleware=middleware, ens=None)


def revert_reason(refused: ContractLogicError) -> str:
    """Why a contract refused a call, in its own words; empty when it doesn't say."""
    return _REVERTED.sub("", str(refused.message or "")).strip()


def rpc_message(refused: Web3RPCError) -> str:
    """What the node of the chain said."""
    response: Any = refused.rpc_response or {}
    found = response.get("error") if isinstance(response, dict) else None
    return str(found.get("message", "") if isinstance(found, dict) else "")[:300] or type(refused).__name__


@contextmanager
def explained(what: str, *, timeout_s: float | None = None) -> Iterator[None]:
    """Failures of web3 as errors of this node: 209 the contract or the chain refused, TimeoutExpiredError."""
    try:
        yield
    except ContractLogicError as refused:
        raise error(209, f"{what}: the contract refused it: {revert_reason(refused) or 'no reason given'}") from None
    except (BadFunctionCallOutput, DecodingError):
        raise error(209, f"{what}: the contract has no such function", hint="check its address") from None
    except Web3RPCError as refused:
        raise error(209, f"{what}: the chain says: {rpc_message(refused)}") from None
    except Web3Exception as problem:
        raise error(209, f"{what}: {type(problem).__name__}: {str(problem)[:200]}") from None
    except (KeyError, TypeError, ValueError, OverflowError) as problem:  # an answer of another form
        raise error(209, f"{what}: the provider's answer can't be read: {type(problem).__name__}") from problem
    except TimeoutError:
        within = f" within {timeout_s:g} seconds" if timeout_s else ""
        raise TimeoutExpiredError(f"{what}: not done{within}") from None
