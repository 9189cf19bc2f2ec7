"""Names that a node knows: of databases, tables, columns and policies. For completion; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from edgelake.command.context import Context
from edgelake.metadata.ids import Policy, body_of, id_of, type_of
from edgelake.store import statement

POLICIES_LOOKED_AT: Final = 20_000
"""So many policies are read for attributes and values: completion answers at once on any ledger."""

_LONGEST_VALUE: Final = 80


class Names:
    """What is there now."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def databases(self) -> set[str]:
        """Connected ones, and those of table policies."""
        local = {store.dbms for store in self._ctx.stores} if self._ctx.stores is not None else set()
        return local | {str(body["dbms"]) for body in self._bodies("table") if body.get("dbms")}

    def tables(self, dbms: str = "") -> set[str]:
        """Of a database; without one, of all."""
        found: set[str] = set()
        for store in self._ctx.stores if self._ctx.stores is not None else ():
            if dbms in ("", "*", store.dbms):
                found.update(store.tables)
        for body in self._bodies("table"):
            if dbms in ("", "*", str(body.get("dbms"))) and body.get("name"):
                found.add(str(body["name"]))
        return found

    def columns(self, dbms: str, table: str) -> list[str]:
        """Of a table here, else of its policy; empty = unknown."""
        stores = self._ctx.stores
        names = [store.dbms for store in stores] if stores is not None and not dbms else [dbms]
        for name in names:
            info = stores.table(name, table) if stores is not None else None
            if info is not None:
                return [column.name for column in info.columns]
        for body in self._bodies("table"):
            if body.get("name") == table and dbms in ("", body.get("dbms")) and isinstance(body.get("create"), str):
                return [column.name for column in statement.user_columns(body["create"])]
        return []

    # ---- policies

    def types(self) -> list[str]:
        """Types that there are policies of."""
        return sorted({type_of(policy) for policy in self._policies(("*",))})

    def ids(self, types: Iterable[str]) -> list[str]:
        """Ids of policies of some types; ``*`` = of all."""
        return [found for policy in self._policies(types) if (found := id_of(policy))]

    def attributes(self, types: Iterable[str]) -> set[str]:
        """What policies of these types say."""
        return {key for policy in self._policies(types) for key in _object(body_of(policy))}

    def values(self, types: Iterable[str], attribute: str) -> set[str]:
        """What they say of an attribute, as a condition would write it."""
        found: set[str] = set()
        for policy in self._policies(types):
            value = _object(body_of(policy)).get(attribute)
            if isinstance(value, str | int | float) and 0 < len(text := str(value)) <= _LONGEST_VALUE:
                found.add(f'"{text}"' if " " in text else text)
        return found

    def described(self, policy_id: str) -> str:
        """Type and name of a policy; empty = there is none with this id."""
        policy: Policy | None = self._ctx.policies.get(policy_id) if self._ctx.policies is not None else None
        if policy is None:
            return ""
        body = _object(body_of(policy))
        return " ".join(filter(None, (type_of(policy), str(body.get("name") or body.get("table") or ""))))

    def _policies(self, types: Iterable[str]) -> Iterator[Policy]:
        if self._ctx.policies is not None:
            yield from self._ctx.policies.of_type(*types)[:POLICIES_LOOKED_AT]

    def _bodies(self, kind: str) -> Iterator[dict[str, Any]]:
        return (_object(body_of(policy)) for policy in self._policies((kind,)))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
