"""Policies: making, keeping and finding them (spec: metadata, sections 5, 7 and 8)."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import After, Tail
from edgelake.command.registry import command
from edgelake.command.security import check_author
from edgelake.errors import CommandError, EdgeLakeError, NotPermittedError, error
from edgelake.metadata.bring import Answer, Bring
from edgelake.metadata.ids import Policy, body_of, complete, id_of, make_id, type_of
from edgelake.metadata.policies import Policies
from edgelake.metadata.policy import check_structure, dumps, parse_json
from edgelake.model import CommandClass, Reply

_REFERENCE = re.compile(r"(?<![\w!\]\"'])!{1,2}[A-Za-z_][\w.-]*")
_QUOTED = re.compile(r'("[^"]*"|\'[^\']*\')')
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


def translated(text: str, ctx: Context) -> str:
    """Source text of a command with its ``!name`` references replaced, except inside quotes.

    A value with blanks gets quotes. Raises CommandError for a reference without a value.
    """

    def value(found: re.Match[str]) -> str:
        result = str(ctx.visible.translate(found[0]))
        if not result:
            raise CommandError(f"Missing dictionary definition for: '{found[0]}'")
        return f'"{result}"' if " " in result and result[:1] not in '"([{' else result

    parts = _QUOTED.split(text)
    for index in range(0, len(parts), 2):
        parts[index] = _REFERENCE.sub(value, parts[index])
    return "".join(parts)


def policies_of(ctx: Context) -> Policies:
    """The node's policies. Raises EdgeLakeError (58) on a node without metadata."""
    if ctx.policies is None:
        raise error(58, "this node runs without metadata", hint="set blockchain_file and start the node again")
    found: Policies = ctx.policies
    return found


def policy_from(text: str, ctx: Context) -> Any:
    """JSON of an argument: ``!name``, or the JSON itself, with its references filled in."""
    text = text.strip()
    if text.startswith("!"):
        name = text
        text = str(ctx.visible.translate(text))
        if not text:
            raise CommandError(f"Missing dictionary definition for: '{name}'")
    return parse_json(ctx.visible.fill(text))


def _reply(answer: Answer, ctx: Context) -> Reply:
    """Whole policies and JSON as data, everything else as text; nothing found is empty, over REST ``[]``."""
    if answer.table is not None:
        titles = [str(t) for t in answer.table.titles]
        data = [dict(zip(titles, row, strict=True)) for row in answer.table.rows]
        return Reply.of_table(answer.table, data=data)
    if answer.has_data:
        reply = Reply.of_data(answer.data, text=None if isinstance(answer.data, list) else answer.text)
        reply.value = "" if answer.data == [] else answer.text
        return reply
    reply = Reply.of_text(answer.text or ("[]" if ctx.caller.entry == "rest" else ""))
    reply.value = answer.text
    return reply


@command(
    "blockchain get",
    "blockchain read",
    cls=CommandClass.DATA,
    topics=("metadata",),
    examples=(
        "blockchain get operator where [name] == op-1 bring.table [*][name] [*][ip]",
        "blockchain get (operator, query) bring.ip_port",
        "blockchain get * bring.count",
    ),
)
async def blockchain_get(ctx: Context, *, query: Annotated[str, Tail()] = "") -> Reply:
    """Policies by type and condition, and what is brought of them. ``get`` asks the memory, ``read`` the local file.

    blockchain get [types] [where conditions] [join|merge (blockchain get ...)] [bring[.words] items [separator = s]]
    """
    text = f"{ctx.phrase} {translated(query, ctx)}"
    policies = policies_of(ctx)
    answer = await policies.read(text) if ctx.phrase == "blockchain read" else policies.select(text)
    return _reply(answer, ctx)


@command(
    "from",
    cls=CommandClass.DATA,
    topics=("metadata", "json"),
    examples=("from !policies bring [operator][name]", "from !reply bring.unique [*][city] separator = ,"),
)
async def from_json(ctx: Context, *, text: Annotated[str, Tail()]) -> Reply:
    """Take values out of JSON: from [!name or JSON] bring[.words] items [separator = s]."""
    found = re.search(r"\sbring(?=[.\s])", text)
    if found is None:
        raise CommandError(f"Missing 'bring' in '{text[:60]}'")
    value = policy_from(text[: found.start()], ctx)
    bring = Bring.parse(translated(text[found.start() :], ctx))
    return _reply(bring.run(value if isinstance(value, list) else [value]), ctx)


@command(
    "create policy",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=("create policy operator with defaults where name = op-1 and company = acme and cluster = ca",),
)
async def create_policy(
    ctx: Context, /, type_: str, with_: Annotated[Literal["defaults"], After("with")] | None = None, **attributes: Any
) -> Reply:
    """A policy of TYPE with these attributes, checked, as JSON. ``with defaults`` adds the node's addresses and the
    ports of the type."""
    body = {key: _typed(value) for key, value in attributes.items()}
    if with_:
        for key, value in _defaults(type_, ctx).items():
            body.setdefault(key, value)
    policy: Policy = policies_of(ctx).checked({type_: body}, complete_first=False)
    return Reply.of_text(dumps(policy))


_PORTS = {"master": 32048, "operator": 32148, "publisher": 32248, "query": 32348}


def _defaults(kind: str, ctx: Context) -> dict[str, Any]:
    if kind not in _PORTS:
        return {}
    found: dict[str, Any] = {}
    for key, name in (("ip", "external_ip"), ("internal_ip", "ip")):
        if value := ctx.visible.get(name):
            found[key] = value.lower()
    return found | {"port": _PORTS[kind], "rest_port": _PORTS[kind] + 1}


def _typed(value: Any) -> Any:
    """A value of a pair as JSON: numbers, booleans, objects and lists get their type."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if _NUMBER.fullmatch(value) or value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value  # e.g. 007, or text that begins with a bracket
    return value


@command(
    "blockchain insert",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=("blockchain insert where policy = !policy and local = true and master = 10.0.0.1:32048",),
)
async def blockchain_insert(
    ctx: Context,
    *,
    policy: str,
    local: bool = True,
    master: list[str] | None = None,
    blockchain: list[str] | None = None,
) -> Reply:
    """Check a policy, give it id and date, and add it to the local file and to the masters and chains named."""
    parsed = check_structure(policy_from(policy, ctx))
    check_author(ctx, [parsed])
    policy_id = await policies_of(ctx).insert(
        parsed, local=local, masters=tuple(master or ()), chains=tuple(blockchain or ())
    )
    return Reply(value=policy_id, text="")


@command("blockchain add", cls=CommandClass.METADATA, topics=("metadata",), examples=("blockchain add !policy",))
async def blockchain_add(ctx: Context, *, policy: Annotated[str, Tail()]) -> Reply:
    """Add a policy, or a list of them, to the local file."""
    value = policy_from(policy, ctx)
    found = [check_structure(p) for p in (value if isinstance(value, list) else [value])]
    check_author(ctx, found)
    await policies_of(ctx).add(found)
    return Reply(value="true", text="")


@command(
    "blockchain prepare policy",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=("blockchain prepare policy !policy",),
)
async def blockchain_prepare(ctx: Context, *, policy: Annotated[str, Tail()]) -> Reply:
    """Add id and date to the policy in a variable."""
    prepared = complete(check_structure(policy_from(policy, ctx)))
    text = dumps(prepared)
    if policy.startswith("!"):
        ctx.variables.set(policy[1:].strip(), text)
        return Reply(value=text, text="")
    return Reply.of_text(text)


@command(
    "blockchain delete policy",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=("blockchain delete policy where id = 64283dba96a4c818074d564c6be20d5c and local = true",),
)
async def blockchain_delete(
    ctx: Context,
    *,
    id: str,
    local: bool = True,
    master: list[str] | None = None,
    blockchain: list[str] | None = None,
) -> Reply:
    """Remove a policy, here and from the masters and chains named."""
    await policies_of(ctx).delete(id, local=local, masters=tuple(master or ()), chains=tuple(blockchain or ()))
    return Reply.done()


@command(
    "blockchain delete local file",
    cls=CommandClass.ADMIN,
    topics=("metadata",),
    examples=("blockchain delete local file",),
)
async def blockchain_delete_file(ctx: Context) -> Reply:
    """Remove the local file and the policies in memory; a synchronizer or `blockchain seed` brings them again."""
    await policies_of(ctx).delete_file()
    return Reply.done()


@command(
    "blockchain update file",
    cls=CommandClass.ADMIN,
    topics=("metadata",),
    examples=("blockchain update file", "blockchain update file !blockchain_new"),
)
async def blockchain_update_file(ctx: Context, path: str = "") -> Reply:
    """Make a copy of the ledger (by default ``!blockchain_new``) the active one; the active one is kept as ``.old``."""
    source = Path(path) if path else ctx.directories.path("blockchain_new")
    if not ctx.directories.inside(source) and not ctx.may(CommandClass.EXEC):
        raise NotPermittedError(f"'{source}' lies outside the node's directories")
    try:
        data = await asyncio.to_thread(source.read_bytes)
    except OSError as problem:
        raise error(78, f"{source}: {problem.strerror}") from problem
    await policies_of(ctx).replace_file(data)
    return Reply.done()


@command(
    "blockchain reload metadata",
    "blockchain load metadata",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=("blockchain reload metadata",),
)
async def blockchain_reload(ctx: Context) -> Reply:
    """Read the local file (``!blockchain_file``) into memory again."""
    await policies_of(ctx).load(ctx.directories.path("blockchain_file"))
    return Reply.done()


@command(
    "blockchain test",
    "blockchain test cluster",
    cls=CommandClass.DATA,
    topics=("metadata",),
    examples=("blockchain test", "blockchain test cluster"),
)
async def blockchain_test(ctx: Context) -> Reply:
    """Check each policy of the local file: structure, attributes, uniqueness."""
    problems = await policies_of(ctx).test()
    if ctx.phrase.endswith("cluster"):
        problems = [p for p in problems if p.startswith(("cluster ", "operator "))]
    reply = Reply.of_data(problems, text="\r\n".join(problems) or "Policies are valid")
    reply.value = "false" if problems else "true"
    return reply


@command(
    "blockchain test id",
    cls=CommandClass.DATA,
    topics=("metadata",),
    examples=("blockchain test id 64283dba96a4c818074d564c6be20d5c",),
)
async def blockchain_test_id(ctx: Context, id: str) -> Reply:
    """Whether the local copy holds a policy with this id."""
    return Reply.of_text("true" if policies_of(ctx).get(id) is not None else "false")


@command("blockchain get id", cls=CommandClass.DATA, topics=("metadata",), examples=("blockchain get id !policy",))
async def blockchain_get_id(ctx: Context, *, policy: Annotated[str, Tail()]) -> Reply:
    """The id that a policy has or would get."""
    parsed = check_structure(policy_from(policy, ctx))
    return Reply.of_text(id_of(parsed) or make_id(parsed))


@command(
    "get metadata version", cls=CommandClass.DATA, topics=("metadata", "status"), examples=("get metadata version",)
)
async def get_metadata_version(ctx: Context) -> Reply:
    """The md5 of the local file: nodes with equal policies have equal versions; 0 before a file exists."""
    version = policies_of(ctx).version
    return Reply.of_data({"version": version}, text=version)


def one_policy(ctx: Context, where: str) -> Policy:
    """The one policy that ``where ...`` selects, with an id. Raises EdgeLakeError (113, 215, 170)."""
    found = policies_of(ctx).one(f"* {translated(where, ctx)}")
    if not body_of(found).get("id"):
        raise error(170, f"the '{type_of(found)}' policy has no id")
    return found


def describe(problem: EdgeLakeError) -> str:
    """One line of an error for a report."""
    return f"{problem.text}: {problem.detail}" if problem.detail else problem.text
