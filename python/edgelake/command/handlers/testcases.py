"""Answers in the test format, compared with trusted ones (spec: query, section 11)."""

from __future__ import annotations

import asyncio
from typing import Literal

from msgspec.structs import replace

from edgelake import _rust
from edgelake.command.context import Context
from edgelake.command.handlers.query import NETWORK_QUERIES, AnyAnswer, answered, committed_rows, constant_of, readable
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.model import CommandClass, Reply
from edgelake.query import report
from edgelake.query.network import Asked, NetworkQueries
from edgelake.query.options import Options, parse_options, split_statement
from edgelake.query.service import Queries


@command(
    "analyze output",
    cls=CommandClass.FILES,
    topics=("query", "test"),
    examples=(
        "analyze output where file = !tmp_dir/answer.out and source = !tmp_dir/trusted.out",
        "analyze output where file = !tmp_dir/answer.out and source = !tmp_dir/trusted.out and option = time",
    ),
)
async def analyze_output(ctx: Context, *, file: str, source: str, option: Literal["", "time"] = "") -> Reply:
    """Compare an answer in a file with a trusted one, both in the test format (sql ... test = true and file = ...).

    The heads do not count; option = time: the answer may have taken no longer. Says result, Title and Reason.
    """
    path, trusted = readable(ctx, file), readable(ctx, source)
    text = await asyncio.to_thread(report.text_of, path)
    options = Options(title=report.header_of(text).get("title", ""), option=option)
    return Reply.of_data(await asyncio.to_thread(report.compared, text, trusted, options))


@command(
    "test case",
    cls=CommandClass.FILES,
    topics=("query", "test"),
    examples=(
        "test case where source = !tmp_dir/trusted.out",
        "test case where source = !tmp_dir/trusted.out and destination = network and option = time",
    ),
)
async def run_test_case(
    ctx: Context, *, source: str, destination: Literal["", "network"] = "", option: Literal["", "time"] = ""
) -> Reply:
    """Ask again what a trusted answer in the test format answers (its head names it), and compare.

    destination = network: over other nodes. option = time: it may take no longer. Says result, Title and Reason.
    """
    trusted = readable(ctx, source)
    head = report.header_of(await asyncio.to_thread(report.text_of, trusted))
    dbms, asked = head.get("dbms", ""), head.get("command", "")
    if not dbms or not asked:
        raise error(175, f"{trusted}: its head names no database and command", hint="make it with: test = true")
    written, statement = split_statement(asked)
    if _rust.statement_word(statement) != "select":
        raise CommandError(f"{trusted}: only a select is asked again")
    # What else the options say, of files and tables that it goes to, is not done again.
    kept = parse_options(written, ctx.visible.translate)
    options = replace(kept, title=head.get("title", ""), source=source, option=option, test=True, output=True)
    options = replace(options, file="", table="", destination="", kafka="", topic="")

    async def ask(options: Options) -> AnyAnswer:
        if destination == "network":
            network: NetworkQueries = ctx.parts[NETWORK_QUERIES]
            return await network.ask(dbms, statement, options, Asked(), command=asked)
        also = await committed_rows(ctx) if options.committed else ""
        queries: Queries = ctx.queries
        return await queries.ask(dbms, statement, options, constant=constant_of(ctx), command=asked, also=also)

    return await answered(ctx, options, ask)
