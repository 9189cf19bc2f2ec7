"""Functions and events of the contract, as bytes of calls and answers.

Texts are taken as bytes (their encodings are the same): anybody may have put bytes there that are no UTF-8, and one
such policy must not keep all others from being read.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

# name: types that it takes, types that it gives
_FUNCTIONS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "transaction_count": ((), ("uint256",)),
    "num_policies": ((), ("uint256",)),
    "policies": (("uint256",), ("bytes",)),
    "policy_ids": (("uint256",), ("bytes",)),
    "insert": (("string", "string"), ()),
    "updatePolicy": (("string", "string"), ()),
    "deletePolicy": (("string",), ()),
    # of our contract only
    "ledger_version": ((), ("uint256",)),
    "deployer": ((), ("address",)),
    "page": (("uint256", "uint256"), ("bytes[]", "bytes[]", "address[]")),
}
_EVENTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "PolicyInserted(string,string,address)": ("inserted", ("bytes", "bytes", "address")),
    "PolicyUpdated(string,string)": ("updated", ("bytes", "bytes")),
    "PolicyDeleted(string,bool)": ("deleted", ("bytes", "bool")),
}
EVENT_BY_TOPIC: Final = {bytes(keccak(text=signature)): event for signature, event in _EVENTS.items()}


def call_data(name: str, *arguments: Any) -> bytes:
    """What is sent to call a function."""
    takes, _ = _FUNCTIONS[name]
    return bytes(keccak(text=f"{name}({','.join(takes)})"))[:4] + encode(takes, arguments)


def answer_of(name: str, raw: bytes) -> tuple[Any, ...]:
    """What a function answered. Raises DecodingError when it is not of its form (e.g. there is no contract)."""
    return tuple(decode(_FUNCTIONS[name][1], raw))


def event_values(topic: bytes, raw: bytes) -> tuple[str, tuple[Any, ...]]:
    """Kind and values of an event of ``EVENT_BY_TOPIC``. Raises DecodingError."""
    kind, types = EVENT_BY_TOPIC[topic]
    return kind, tuple(decode(types, raw))


def text(raw: bytes) -> str:
    """A text of the contract; what is no UTF-8 is replaced, and so no longer JSON or another id."""
    return raw.decode("utf-8", "replace")


def bytecode() -> str:
    """The compiled contract (``PolicyLedger.sol``)."""
    compiled = resources.files("edgelake.metadata.chain").joinpath("PolicyLedger.json").read_text("utf-8")
    return "0x" + str(json.loads(compiled)["bytecode"])
