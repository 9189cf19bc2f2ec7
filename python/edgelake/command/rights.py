"""What policies permit to read: the tables of a select are looked up before it is planned (security spec, 7)."""

from __future__ import annotations

from edgelake._rust import Select
from edgelake.command.context import Context
from edgelake.errors import NotPermittedError
from edgelake.query import leading
from edgelake.query.options import Options
from edgelake.store.catalogue import TEXT_SUFFIX

SQL = "sql"


def check_read(ctx: Context, dbms: str, statement: str, options: Options) -> None:
    """Raises NotPermittedError when policies do not permit one of the tables to the caller; QueryError."""
    rights = ctx.caller.rights
    if rights is None:
        return
    for name, table in (*Select(leading.without(statement)).tables, *options.include):
        of = (name or dbms).lower()
        rights.check(SQL, of, _base(ctx, of, table.lower()))


def may_read(ctx: Context, dbms: str, table: str) -> bool:
    """Whether policies permit the rows of a table to the caller."""
    if ctx.caller.rights is None:
        return True
    try:
        ctx.caller.rights.check(SQL, dbms, _base(ctx, dbms, table))
    except NotPermittedError:
        return False
    return True


def _base(ctx: Context, dbms: str, table: str) -> str:
    """A view with readable times shows the rows of its table."""
    if not table.endswith(TEXT_SUFFIX):
        return table
    store = ctx.stores.find(dbms)
    return table if store is not None and table in store.tables else table.removesuffix(TEXT_SUFFIX)
