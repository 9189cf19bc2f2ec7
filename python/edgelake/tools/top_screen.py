"""The screen of ``edgelake top``. Imported only where textual is installed (extra ``[tui]``)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from edgelake.tools.figures import Rates, bar, clean, rate, since, size, span
from edgelake.tools.sources import LookError, Source

FASTEST_S: Final = 0.25
SLOWEST_S: Final = 60.0
CURVE: Final = 24

# Which counter of a service says how busy it is.
_BUSY: Final = ("requests", "messages_received", "frames_in", "messages", "rows", "calls")

_KEYS: Final = """\
  q, Ctrl-C   leave; the node goes on
  Tab         the next table       Shift-Tab   the one before
  arrows      move in a table      Enter, k    on a query: stop it
  p           hold the picture, and let it go on
  + -         look more often, less often
  r           look now
  ?           this list; any key leaves it
"""

Row = tuple[str, Sequence[str | Text]]
"""Key of the row, and its cells."""


class Note(ModalScreen[bool]):
    """A text over the screen; with ``asks``, yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("n,escape,q,question_mark,enter", "answer(False)", "No", show=False),
    ]

    def __init__(self, text: str, *, asks: bool = False) -> None:
        super().__init__()
        self._text = f"{text}\n\n  y = yes, n = no" if asks else text
        self._asks = asks

    def compose(self) -> ComposeResult:
        yield Static(Text(self._text), id="note")

    def action_answer(self, said: bool) -> None:
        self.dismiss(said and self._asks)


class TopScreen(App[None]):
    """Services, numbers, tables, queries and problems of a node; looked at again and again."""

    CSS = """
    Screen { layout: vertical; }
    #head { height: 1; text-style: bold; }
    #numbers { height: auto; padding: 0 1; border-bottom: solid $primary; }
    .part { border: round $primary; height: 1fr; min-height: 5; }
    .part:focus { border: round $accent; }
    #left, #right { width: 1fr; }
    .-narrow #parts { layout: vertical; }
    Note { align: center middle; }
    #note { width: auto; max-width: 90%; height: auto; padding: 1 2; border: round $accent; background: $surface; }
    DataTable:nocolor > .datatable--cursor { text-style: reverse; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Leave"),
        Binding("p", "hold", "Hold"),
        Binding("k", "stop_query", "Stop query"),
        Binding("plus,equals_sign", "faster", "Faster", key_display="+"),
        Binding("minus", "slower", "Slower", key_display="-"),
        Binding("r", "look", "Now"),
        Binding("question_mark", "keys", "Keys", key_display="?"),
        Binding("ctrl+c", "quit", "Leave", show=False, priority=True),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    ENABLE_COMMAND_PALETTE = False
    TITLE = "edgelake top"

    def __init__(self, source: Source, period_s: float = 1.0) -> None:
        super().__init__(ansi_color=bool(os.environ.get("NO_COLOR")))
        self._head, self._numbers = Static(id="head"), Static(id="numbers")
        self._source = source
        self._period_s = period_s
        self._rates = Rates()
        self._is_held = False
        self._problem = ""
        self._state: dict[str, Any] = {}
        self._queries: dict[str, dict[str, Any]] = {}
        self._looking = asyncio.Lock()
        self._woken = asyncio.Event()
        self.looks = 0
        """How often the node has answered."""

    # ---- what is on the screen

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._numbers
        with Horizontal(id="parts"):
            with Vertical(id="left"):
                yield _table("services", "Services")
                yield _table("problems", "Problems")
            with Vertical(id="right"):
                yield _table("tables", "Tables")
                yield _table("queries", "Queries that run")
        yield Footer()

    def on_mount(self) -> None:
        for name, titles in (
            ("services", ("Service", "State", "Since", "Rate", "Details")),
            ("problems", ("Where", "Problem", "Cause", "Command")),
            ("tables", ("Table", "Rows/s", "Rows", "Buffered", "Rejected", "Last")),
            ("queries", ("Job", "Seconds", "Rows", "Read", "Command")),
        ):
            self._part(name).add_columns(*titles)
        self._part("queries").focus()
        self.run_worker(self._follow(), name="looks", exit_on_error=True)

    def _part(self, name: str) -> DataTable[str | Text]:
        found: DataTable[str | Text] = self.screen_stack[0].query_one(f"#{name}", DataTable)
        return found

    async def _follow(self) -> None:
        while True:
            if not self._is_held:
                await self.look()
            self._woken.clear()
            try:
                async with asyncio.timeout(self._period_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look at the node, and show what it says; a node that says nothing is told so, and looked at again."""
        async with self._looking:
            try:
                found = {view: await self._source.look(view) for view in ("overview", "problems", "queries")}
            except LookError as problem:
                self._problem = clean(problem)
                if self._head.is_attached:
                    self._show_head()
                return
            if not self._head.is_attached:  # the user has left meanwhile
                return
            self._problem = ""
            self.looks += 1
            self._state = found["overview"]
            self._rates.take(self._state["time"], _totals(self._state))
            self._show_head()
            self._show_numbers()
            _fill(self._part("services"), [self._service(one) for one in self._state["services"]])
            _fill(self._part("tables"), [self._stream(one) for one in self._state["tables"]])
            _fill(self._part("problems"), [_problem_row(one) for one in found["problems"]["problems"]])
            self._queries = {str(one["identity"]): one for one in found["queries"]["queries"]}
            _fill(self._part("queries"), [_query_row(key, one) for key, one in self._queries.items()])

    def _show_head(self) -> None:
        node = self._state.get("node", {})
        shown = Text(f" {clean(node.get('name') or 'node', 60)}  {clean(self._source.name, 80)}")
        if node:
            shown.append(f"  version {clean(node['version'], 30)}  up {span(node['uptime_seconds'])}  ")
            why = "; ".join(clean(one) for one in self._state["reasons"])
            shown.append("ready" if not why else f"not ready: {why}", "green" if not why else "bold red")
        if self._problem:
            shown.append(f"  NO ANSWER: {self._problem}", "bold red")
        shown.append("  HELD (p goes on)" if self._is_held else f"  every {self._period_s:g} s", "dim")
        self._head.update(shown)

    def _show_numbers(self) -> None:
        found, of = self._state["numbers"], self._rates.of
        seconds = of("cpu_seconds_total")
        cpu = "-" if seconds is None else f"{seconds * 100:.0f} %"
        queue, limit = found["queue_bytes"], found["queue_limit_bytes"]
        free, disk = found["disk_free_bytes"], found["disk_size_bytes"]
        lines = [
            f"Rows      {rate(of('rows_stored_total')):>12} {self._rates.curve('rows_stored_total', CURVE)}"
            f"  stored {found['rows_stored_total']:,}  buffered {found['rows_buffered']:,}"
            f"  rejected {found['rows_rejected_total']:,}",
            f"Messages  {rate(of('messages_total')):>12} {self._rates.curve('messages_total', CURVE)}"
            f"  received {found['messages_total']:,}  failed {found['messages_failed_total']:,}",
            f"Requests  {rate(of('requests_total')):>12} {self._rates.curve('requests_total', CURVE)}"
            f"  answered {found['requests_total']:,}  failed {found['requests_failed_total']:,}",
            f"Queue     {bar(queue, limit)} {size(queue)} of {size(limit)}   Journal {size(found['journal_bytes'])}",
            f"Disk      {bar(disk - free, disk)} {size(free)} of {size(disk)} free"
            f"   Memory {size(found['memory_bytes'])}   CPU {cpu}   Queries {found['queries_running']}",
        ]
        self._numbers.update(Text("\n".join(lines), no_wrap=True))

    def _service(self, one: dict[str, Any]) -> Row:
        name = clean(one["name"])
        if one["last_error"]:
            state = Text("failing" if one["running"] else "failed", "bold red")
        else:
            state = Text("running", "green") if one["running"] else Text("-", "dim")
        details = clean(one["last_error"] or (one["details"] if one["running"] else ""))
        return name, (name, state, since(one["since"]), rate(self._rates.of(f"service {name}")), details)

    def _stream(self, one: dict[str, Any]) -> Row:
        name = clean(f"{one['dbms']}.{one['table']}")
        shown = rate(self._rates.of(f"table {name}"))
        last = since(one["last"])
        return name, (name, shown, f"{one['stored']:,}", f"{one['buffered']:,}", f"{one['rejected']:,}", last)

    # ---- keys

    def action_hold(self) -> None:
        self._is_held = not self._is_held
        self._show_head()
        self._woken.set()

    async def action_look(self) -> None:
        await self.look()

    def action_faster(self) -> None:
        self._period_s = max(self._period_s / 2, FASTEST_S)
        self._show_head()
        self._woken.set()

    def action_slower(self) -> None:
        self._period_s = min(self._period_s * 2, SLOWEST_S)
        self._show_head()

    def action_keys(self) -> None:
        self.push_screen(Note(_KEYS))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.data_table.id == "queries":
            self.action_stop_query()

    def action_stop_query(self) -> None:
        """Ask whether the query under the cursor is to be stopped."""
        table = self._part("queries")
        if not table.row_count:
            self.notify("no query runs")
            return
        key = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        query = self._queries.get(key or "")
        if query is None:
            return

        def answered(said: bool | None) -> None:
            if said:
                self.run_worker(self._stop(query), name="stop")

        self.push_screen(Note(f"Stop this query?\n\n  {clean(query['command'], 300)}", asks=True), answered)

    async def _stop(self, query: dict[str, Any]) -> None:
        async with self._looking:  # the socket takes one at a time
            try:
                await self._source.run(f"job stop {query['job']} where identity = {query['identity']}")
            except LookError as problem:
                self.notify(clean(problem), title="Not stopped", severity="error", markup=False)
        await self.look()


async def run_screen(source: Source, period_s: float) -> int:
    """Until the user leaves; the exit code."""
    screen = TopScreen(source, period_s)
    await screen.run_async()
    return screen.return_code or 0


def _table(name: str, title: str) -> DataTable[str | Text]:
    made: DataTable[str | Text] = DataTable(id=name, classes="part", cursor_type="row", zebra_stripes=True)
    made.border_title = title
    return made


def _totals(state: dict[str, Any]) -> dict[str, float]:
    """All that only grows, by name."""
    found = {name: value for name, value in state["numbers"].items() if name.endswith("_total")}
    for one in state["tables"]:
        found["table " + clean(f"{one['dbms']}.{one['table']}")] = one["stored"]
    for one in state["services"]:
        busy = next((name for name in _BUSY if name in one["counters"]), None)
        if busy is not None:
            found["service " + clean(one["name"])] = one["counters"][busy]
    return found


def _problem_row(one: dict[str, Any]) -> Row:
    what = Text(clean(one["what"]), "bold red" if one["weight"] == "error" else "yellow")
    return f"{one['where']} {one['what']}", (clean(one["where"]), what, clean(one["cause"]), clean(one["command"]))


def _query_row(key: str, one: dict[str, Any]) -> Row:
    read = ""
    if one["nodes"]:
        read = f"{one['answered']}/{one['nodes']} nodes"
    elif one["parts"]:
        read = f"{one['parts_done']}/{one['parts']}"
    return key, (str(one["job"]), f"{one['seconds']:.1f}", f"{one['rows']:,}", read, clean(one["command"], 300))


def _fill(table: DataTable[str | Text], rows: Sequence[Row]) -> None:
    """Show rows; the cursor stays on the row that it is on, and nothing flickers while the rows are the same."""
    unique = dict(rows)
    keys = [key.value for key in table.rows]
    if keys == list(unique):
        columns = list(table.columns)
        for key, cells in unique.items():
            for column, cell in zip(columns, cells, strict=True):
                if table.get_cell(key, column) != cell:
                    table.update_cell(key, column, cell, update_width=True)
        return
    current = keys[table.cursor_row] if 0 <= table.cursor_row < len(keys) else None
    scrolled = table.scroll_offset
    table.clear()
    for key, cells in unique.items():
        table.add_row(*cells, key=key)
    if current in unique:
        table.move_cursor(row=list(unique).index(current), animate=False, scroll=False)
        table.scroll_to(scrolled.x, scrolled.y, animate=False)
