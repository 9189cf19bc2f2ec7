"""Other nodes: the TCP server, and commands sent to them.

Source: spec "Services and status", section 2; "Command language", section 10; "Network protocol", sections 3.1 and 5.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Annotated, Final

from msgspec.structs import replace

from edgelake.command.cluster import CLUSTER, ClusterMessages
from edgelake.command.context import Context
from edgelake.command.destinations import Destination, resolve
from edgelake.command.grammar import Tail
from edgelake.command.handlers.addresses import reply_address
from edgelake.command.handlers.identity import gate_of, security_of
from edgelake.command.handlers.ledger import master_of
from edgelake.command.handlers.query import leaf_rows, network_select
from edgelake.command.handlers.rest import server_certificate
from edgelake.command.handlers.synchronizer import synchronizer_of
from edgelake.command.logs import mask
from edgelake.command.peerfiles import PEER_FILES
from edgelake.command.registry import command
from edgelake.command.render import reply_text, to_json
from edgelake.command.security import member_name
from edgelake.command.tokenizer import Word, tokenise
from edgelake.command.variables import Variables
from edgelake.errors import CommandError, EdgeLakeError, NotPermittedError, error, text_of
from edgelake.identity.trust import KeyRights, Trust
from edgelake.metadata.address import NODE_TYPES, ips_of
from edgelake.metadata.certificates import Certificates
from edgelake.metadata.ids import body_of
from edgelake.metadata.returning import Returning
from edgelake.metadata.routing import ROUTING
from edgelake.metadata.serve import GET_BLOCKCHAIN
from edgelake.model import ALL_CLASSES, LOOPBACK_CLASSES, OUTSIDE_CLASSES, Caller, CommandClass, Reply
from edgelake.net.endpoints import is_loopback
from edgelake.net.peer import Dispatch, Hooks, PeerConfig, PeerServer
from edgelake.net.peer.asking import MAX_COMMAND_BYTES
from edgelake.net.peer.dispatch import PONG, Answer, Ready
from edgelake.net.peer.secure import certificate_text
from edgelake.peering import PeerAnswer, failure_of
from edgelake.query.exchange import QueryPeers
from edgelake.query.network import Asked

PEER_COMMANDS = "peer commands"
"""Setting of the node: beginnings of commands that nodes of the policies may send, in lower case."""

_UNSIGNED: Final = "the message is not signed, and this node demands that"
_SIGN: Final = "set node authentication on, at the node that sent it"
_LONGEST_PHRASE: Final = 6
_PLAIN: Final = Destination()
MAX_CALLERS: Final = 1024
"""Addresses of peers whose rights are kept."""

_ADDRESS = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}:\d{1,5}", re.ASCII)

PEERS = "peers"
"""The part that sends messages: ``peering.Peers``, while the TCP server runs."""


@command(
    "run tcp server",
    cls=CommandClass.ADMIN,
    topics=("network", "background processes"),
    examples=(
        "run tcp server where external_ip = !external_ip and external_port = 7850 and threads = 6",
        "run tcp server where external_ip = 10.0.0.1 and external_port = 7850 and internal_ip = !ip "
        "and internal_port = 7850 and bind = true",
        "run tcp server where external_ip = 10.0.0.1 and external_port = 7850 and ssl = true",
        "run tcp server where external_ip = 10.0.0.1 and external_port = 7850 and ssl_client = true",
    ),
)
async def run_tcp_server(
    ctx: Context,
    *,
    external_ip: str = "",
    external_port: int = 0,
    internal_ip: str = "",
    internal_port: int = 0,
    bind: bool = False,
    threads: int = 6,
    ssl: bool = False,
    ssl_only: bool = False,
    ssl_client: bool = False,
    ca_org: str = "",
    server_org: str = "",
    cert: str = "",
    key: str = "",
) -> Reply:
    """Listen for messages of other nodes, and talk to them.

    external: the address given to others; internal: on the local network. bind = true: listen on the internal address
    only. threads: commands of others that are worked on at a time. ssl = true: TLS on the connections that nodes of
    this kind keep, with the certificate of cert and key, or of ca_org and server_org, or one from pem_dir;
    !tcp_certificate is what to put into this node's policy as "certificate". ssl_only = true: nothing without TLS is
    taken or sent. ssl_client = true: nor is anything taken from nodes that do not show a certificate, one that is in
    the policy of a node or by the authority of ca_org.
    """
    plain = PeerConfig(external_ip, external_port, internal_ip, internal_port, bind, threads=threads)
    plain.check_ports("TCP Server")
    if threads < 1:
        raise CommandError("threads: at least 1")
    hosts = (plain.internal[0], plain.external[0])
    files = server_certificate(ctx, hosts, (ca_org, server_org, cert, key)) if ssl or ssl_only or ssl_client else None
    config = replace(plain, tls=files, tls_only=ssl_only, tls_client=ssl_client)
    encrypted = gate_of(ctx).identities.content.encrypted
    if encrypted and files is None:
        raise CommandError("set encryption is on: the TCP server needs TLS", hint="and ssl = true")
    certificates = Certificates()
    server = PeerServer(
        config,
        Dispatch(_hooks(ctx, are_named=ssl_client)),
        is_known=lambda host: _is_known(ctx, host),
        certificate_of=lambda peer: certificates.of(peer, ctx.policies.image),
        trusted=lambda: certificates.all(ctx.policies.image),
        reply_address=partial(reply_address, ctx),
        is_open=lambda: bool(gate_of(ctx).anonymous("peer", False)),
        signatures=security_of(ctx).signatures,
    )
    server.secure.demand_tls(encrypted)
    await ctx.services.start(server)
    ctx.parts[PEERS] = server
    server.keep(asyncio.ensure_future(Returning(ctx.parts[ROUTING], server.ask).run()))
    ctx.variables.set("anylog_server_port", str(config.external[1]))
    if files is not None:
        shown = files
        server.on_renewed = lambda: ctx.variables.set("tcp_certificate", certificate_text(shown))
        server.on_renewed()
    return Reply.done()


def _hooks(ctx: Context, *, are_named: bool) -> Hooks:
    """What peers may have done here; each command runs with the rights of where it comes from.

    Args:
        are_named: each shows a certificate of the network, so that it needs no permission of clients without a name.
    """

    def classes(ip: str) -> frozenset[CommandClass]:
        if are_named:
            return LOOPBACK_CLASSES if is_loopback(ip) else OUTSIDE_CLASSES
        return gate_of(ctx).anonymous("peer", is_loopback(ip))

    security, identities = security_of(ctx), gate_of(ctx).identities
    nameless: tuple[object, dict[str, Caller]] = (None, {})

    def caller(ip: str, key: str, command: str) -> Caller:
        nonlocal nameless
        content = identities.content
        if not content.nodes_enforced:  # then it is always the same, until the identities change
            if nameless[0] is not content or len(nameless[1]) > MAX_CALLERS:
                nameless = (content, {})
            if (known := nameless[1].get(ip)) is None:
                known = nameless[1][ip] = Caller("peer", classes(ip), ip)
            return known
        if not key:
            granted = gate_of(ctx).identities.anonymous_classes("peer")
            if not granted:
                raise NotPermittedError(_UNSIGNED, hint=_SIGN)
            return Caller("peer", granted, ip)
        return _signed_caller(ctx, ip, key, command)

    def refused(ip: str, key: str, command: str, why: str) -> None:
        who = member_name(security, ctx, key) if key else ""
        ctx.audit.add("peer", ip, who, command, "refused", why)
        ctx.logs.event(f"(Refused: {mask(why)}) {mask(command)[:200]} of {ip}", kind="Error", thread="peer")

    cluster: ClusterMessages = ctx.parts[CLUSTER]

    async def run(line: str, caller: Caller) -> Reply:
        reply = await ctx.for_caller(caller).execute(line)
        if reply.stream is not None:
            body = b"".join([piece async for piece in reply.stream])
            return Reply.of_text(body.decode(errors="replace"))
        return reply

    def standing(line: str, caller: Caller) -> Ready | None:
        found = ctx.dispatcher.standing(line, ctx, caller)
        return None if found is None else Ready(found.run, found.note)

    def shown(peer: str, text: str) -> None:
        if ctx.echo.on:
            ctx.echo.add(f"[From Node {peer}] {text}")
        elif (console := ctx.console) is not None:
            console(f"[From Node {peer}]\n{text}")

    return Hooks(
        run=run,
        told=_told,
        standing=standing,
        query=lambda request, caller: leaf_rows(
            ctx.for_caller(caller),
            request.line,
            request.asker,
            request.printed,
            declines=request.knows_others and not cluster.is_complete,
        ),
        stop_query=lambda asker: ctx.queries.leaves.stop(asker),
        shown=shown,
        get_blockchain=lambda peer, words: ctx.parts[GET_BLOCKCHAIN](peer, words),
        pinged=lambda peer: peers_of(ctx).tell(peer, f"event {PONG}"),
        alive=ctx.parts[ROUTING].heard_of,
        is_master=lambda: master_of(ctx).exists,
        expects_ledger=lambda peer, name: (sync := synchronizer_of(ctx)) is not None and sync.expects(peer, name),
        on_ledger=lambda peer, name, path: ctx.parts["on_ledger"](peer, name, path),
        files=ctx.parts[PEER_FILES],
        cluster=cluster,
        caller=caller,
        granted=lambda line, ip, key: _granted(ctx, line, ip, key),
        trusts_ledger=lambda key: not identities.content.nodes_enforced or bool(key and not security.trust.links),
        refused=refused,
        working_dir=lambda: ctx.directories.path("prep_dir"),
    )


def _told(line: str, reply: Reply) -> Answer:
    """A reply as text for a peer."""
    if line.startswith("blockchain get") and reply.has_data and ".json" not in line:
        # The reference's peers expect the list as Python prints it.
        return Answer(str(reply.data) if isinstance(reply.data, list) else reply_text(reply))
    return Answer(reply_text(reply), reply.json_wanted and reply.has_data)


@lru_cache(4096)
def _signed(ip: str, key: str, who: str, trust: Trust, classes: frozenset[CommandClass]) -> Caller:
    return Caller("peer", classes, ip, who, KeyRights(trust, key))


def _signed_caller(ctx: Context, ip: str, key: str, command: str) -> Caller:
    """Rights of who signed a message: what policies permit, of the classes data and metadata; a command that the root
    itself gave by its own words may be one of any class but exec. Raises NotPermittedError."""
    security = security_of(ctx)
    phrase = _phrase_of(ctx, command)
    KeyRights(security.trust, key).check(phrase)
    classes = LOOPBACK_CLASSES if security.trust.names(key, phrase) else OUTSIDE_CLASSES
    return _signed(ip, key, member_name(security, ctx, key), security.trust, classes)


def _phrase_of(ctx: Context, command: str) -> str:
    """The words by which policies know a command; of what is none of the language its first word."""
    words = command.lower().split(maxsplit=_LONGEST_PHRASE)[:_LONGEST_PHRASE]
    for count in range(len(words), 0, -1):
        if ctx.registry.get(phrase := " ".join(words[:count])) is not None:
            return phrase
    return words[0] if words else ""


def _granted(ctx: Context, line: str, ip: str, key: str) -> Caller | None:
    """Rights of a node of the policies for a command that ``set peer commands`` names; of a key that may run it."""
    if gate_of(ctx).follows_policies:
        trust, phrase = security_of(ctx).trust, _phrase_of(ctx, line)
        if not key or ctx.registry.get(phrase) is None or not trust.names(key, phrase):
            return None
        return _signed_caller(ctx, ip, key, phrase)
    granted: tuple[str, ...] = ctx.node.settings.get(PEER_COMMANDS, ())
    if not f"{line} ".startswith(tuple(f"{text} " for text in granted)) or not (_is_known(ctx, ip) or is_loopback(ip)):
        return None
    return Caller("peer", ALL_CLASSES, ip)


def _is_known(ctx: Context, host: str) -> bool:
    """Whether a policy of a node has this address."""
    return any(host in ips_of(body_of(policy)) for policy in ctx.policies.of_type(*NODE_TYPES))


def peers_of(ctx: Context) -> QueryPeers:
    """What sends messages. Raises EdgeLakeError (21) without a TCP server."""
    found: QueryPeers | None = ctx.parts.get(PEERS)
    if found is None:
        raise error(21, "this node has no TCP server", hint="run tcp server where ...")
    return found


@command(
    "run client",
    cls=CommandClass.DATA,
    topics=("network",),
    examples=(
        "run client 10.0.0.78:7848 get status",
        "run client (10.0.0.78:7848, 10.0.0.79:7848) get processes where format = json",
        "run client (operator where [country] contains US, subset = true, timeout = 5) get status",
        "run client (dbms = lsl_demo and table = ping_sensor) get disk usage .",
        "run client (10.0.0.78:7848) file copy !tmp_dir/map.json !!tmp_dir/map.json",
        "run client (10.0.0.78:7848) file get !!archive_dir/a.json !tmp_dir/a.json",
        "run client (10.0.0.78:7848) file get (dbms = d and table = t and id = 0a1b.png) !tmp_dir",
        'run client () sql lsl_demo format = table "select count(*), avg(value) from ping_sensor"',
    ),
)
async def run_client(ctx: Context, *, text: Annotated[str, Tail()]) -> Reply:
    """Send a command to other nodes and show what they answer: run client (destination) command.

    Destination: ip:port, several with commas, a selection of policies, or dbms and table; () with sql: the nodes that
    hold the table, whose rows are merged. ``subset = true``: the answers of some are enough; ``timeout``: seconds;
    ``named = true``: the answer of a single node, too, stands under its address.
    """
    if "!" not in text and (direct := _direct(text)) is not None:
        peers, line, message = direct
        return _joined(await peers_of(ctx).ask(peers, message), line)
    written, line = split_destination(text)
    if not line:
        raise CommandError(f"no command behind '{written}'", hint="run client (10.0.0.78:7848) get status")
    destination = resolve_for(ctx, written)
    if line.split()[0].lower() == "sql":
        asked = Asked(destination.peers, destination.subset, destination.timeout_s)
        return await network_select(ctx, line, asked)
    if destination.by_query:
        raise error(155, "() stands for the nodes of a query", hint="run client (operator) " + line[:40])
    if line.lower().startswith(("file copy ", "file get ")):
        words = wire_text(line, ctx).split(" ")
        done = await ctx.parts[PEER_FILES].run(ctx, peers_of(ctx), destination.peers, words, destination.timeout_s)
        return _joined(done, line, destination)
    message = _fitting(wire_text(line, ctx))
    answers = await peers_of(ctx).ask(destination.peers, message, timeout_s=destination.timeout_s)
    return _joined(answers, line, destination)


@lru_cache(256)
def _direct(text: str) -> tuple[tuple[str, ...], str, str] | None:
    """Peer, command and its message when the destination is an address: without references they are always the same.

    None: it is something else. Raises EdgeLakeError (9, 155).
    """
    written, line = split_destination(text)
    if not _ADDRESS.fullmatch(written) or not line or line.split()[0].lower() in ("sql", "file"):
        return None
    nothing = Variables({})
    peers = resolve(written, nothing, lambda _: "", lambda *_: ()).peers
    return peers, line, _fitting(_on_wire(line, nothing))


def _fitting(message: str) -> str:
    """A message that is not too long. Raises EdgeLakeError (9)."""
    if len(message.encode()) > MAX_COMMAND_BYTES:
        raise error(9, f"a command to other nodes has at most {MAX_COMMAND_BYTES} bytes; this one {len(message)}")
    return message


def resolve_for(ctx: Context, written: str) -> Destination:
    """The nodes that a destination names. Raises EdgeLakeError (155, 2)."""
    routes = ctx.parts[ROUTING]
    return resolve(
        written,
        ctx.visible,
        lambda text: str(ctx.policies.select(text).text),
        lambda company, dbms, table: [one.address for one in routes.operators(company, dbms, table)],
    )


def split_destination(text: str) -> tuple[str, str]:
    """Destination and command: ``(...) command``, ``ip:port command``, ``ip port command``, ``!variable command``.

    Raises CommandError for a bracket that stays open.
    """
    text = text.strip()
    if not text.startswith("("):
        found = re.match(r"(!\S+|\S+:\d+|\S+\s+\d+(?=\s|$)|\S+)\s*", text)
        return (found[1], text[found.end() :]) if found else ("", "")
    depth, quote = 0, ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if not depth:
                return text[: at + 1], text[at + 1 :].strip()
    raise CommandError(f"the bracket in 'run client {text[:40]}' is not closed")


@lru_cache(256)
def _words(line: str) -> tuple[Word, ...]:
    return tuple(tokenise(line).words)


def wire_text(line: str, ctx: Context) -> str:
    """A command as it travels: words with one blank between, a blank inside a word as TAB, our references filled in,
    ``!!name`` as ``!name`` for the receiver's. Raises CommandError for a reference without a value."""
    return _on_wire(line, ctx.visible)


def _on_wire(line: str, variables: Variables) -> str:
    words = []
    for word in _words(line):
        text = word.text
        if text.startswith("!!"):
            text = text[1:]
        elif text.startswith("!"):
            text = str(variables.translate(text))
            if not text:
                raise CommandError(f"Missing dictionary definition for: '{word.text}'")
        words.append(text if text.startswith("{") else text.replace(" ", "\t"))
    return " ".join(words)


def _joined(answers: Sequence[PeerAnswer], line: str, to: Destination = _PLAIN) -> Reply:
    """The answers of one or several nodes; JSON by address. Raises what a node answered, unless some are enough."""
    if len(answers) == 1 and not answers[0].error and not to.named:
        return Reply(answers[0].text)
    failed = [answer for answer in answers if answer.error]
    if failed and (not to.subset or len(failed) == len(answers)):
        raise _failure(failed, len(answers))
    if all(answer.is_json for answer in answers if not answer.error):
        parts = [f'"{a.peer}" : {to_json(a.text) if a.error else a.text}' for a in answers]
        return Reply.of_text("{" + ", ".join(parts) + "}")
    if to.named:  # as clients of the REST server read it (spec "REST API", section 8)
        return Reply.of_text("".join(f"\r\n[From Node {a.peer}] {_shown(a)}" for a in answers))
    said = [f"[From Node {a.peer}] {line}\r\n{_shown(a)}" for a in answers]
    return Reply.of_text("\r\n".join(said))


def _shown(answer: PeerAnswer) -> str:
    return f"Not responding: {answer.text}" if answer.error else answer.text


def _failure(failed: Sequence[PeerAnswer], asked: int) -> EdgeLakeError:
    """One error for all that failed, with the number of the first."""
    texts = "; ".join(f"{a.peer}: {a.text.removeprefix(f'{a.peer}: ') or text_of(a.error)}" for a in failed)
    hint = "subset = true in the brackets takes the answers of the others" if asked > 1 else ""
    if failed[0].error == NotPermittedError.number:
        return NotPermittedError(texts, hint=hint)
    return failure_of(failed[0].error, texts, hint=hint)
