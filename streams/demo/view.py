"""What a running demo looks like: one screen as plain values, drawn with rich or said as one line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schemas.currencies import money
from schemas.events import MEASURES
from schemas.topics import ORDERS, PAYMENTS
from streams.demo.kill import Kill
from streams.demo.state import RunState
from streams.task_names import tasks_text

FIXED_LINES = 13
"""Lines that are always there: title, bar, numbers, time, the heads of two tables, outcomes, empty lines between, the foot."""
MONEY_ROWS_MIN = 1
"""Currencies that are shown on the smallest screen."""
NOTES_MAX = 3
"""What happened last; the workers' logs have the rest."""
WIDE_COLUMNS = 100
"""From here on there is room for every measure."""
_COLORS = {"alive": "green", "killed": "bold red", "restarting": "yellow", "joining": "yellow", "starting": "yellow"}


@dataclass(frozen=True)
class WorkerRow:
    """One line of the table of workers."""

    worker: str
    pid: int
    state: str
    epochs: int
    aborts: int
    consumed: int
    tasks: str


@dataclass(frozen=True)
class MoneyRow:
    """Totals of all windows of one currency; amounts in minor units."""

    currency: str
    amounts: dict[str, int]


@dataclass(frozen=True)
class Screen:
    """Everything that is shown at one moment."""

    title: str
    phase: str
    elapsed_s: float
    total: int
    sent: int
    consumed: int
    per_s: float
    time: str
    workers: tuple[WorkerRow, ...]
    applied: int
    duplicates: int
    dead: int
    dead_by_reason: dict[str, int]
    money: tuple[MoneyRow, ...]
    notes: tuple[str, ...]
    keys: bool

    @property
    def lag(self) -> int:
        """Events that were sent and are not committed as processed."""
        return max(0, self.sent - self.consumed)


def worker_rows(state: RunState, kills: list[Kill], now_s: float) -> tuple[WorkerRow, ...]:
    """Give the rows by name; a killed process stands above its successor until its tasks have answered."""
    waiting = {kill.pid: kill for kill in kills if not kill.settled}
    rows = []
    for member in sorted(state.members.values(), key=lambda each: (len(each.worker), each.worker, each.started_s)):
        if member.ended == "killed" and member.pid not in waiting:
            continue
        sample = member.sample
        tasks = tasks_text((task.name, task.state) for task in sample.tasks) or "no tasks yet"
        if member.ended == "killed":
            kill = waiting[member.pid]
            tasks = f"{len(kill.waiting or kill.tasks)} of its tasks wait, {now_s - kill.died_s:.1f} s"
        elif member.ended:
            tasks = "-"
        consumed = state.consumed_by[member.worker]
        rows.append(
            WorkerRow(member.worker, member.pid, member.state(now_s), sample.epochs_count, sample.aborts_count, consumed, tasks)
        )
    return tuple(rows)


def money_rows(revenue: Counter[str]) -> tuple[MoneyRow, ...]:
    """Give the sums of all windows per currency, the one with most orders first, from the revenue tasks' counters."""
    amounts: dict[str, dict[str, int]] = {}
    for name, amount in revenue.items():
        account, _, rest = name.partition("|")
        if account == "windowed":
            currency, _, measure = rest.partition("|")
            amounts.setdefault(currency, dict.fromkeys(MEASURES, 0))[measure] = amount
    ordered = sorted(amounts.items(), key=lambda item: (-item[1]["orders_count"], item[0]))
    return tuple(MoneyRow(currency, of_it) for currency, of_it in ordered)


def screen_of(
    state: RunState,
    kills: list[Kill],
    *,
    title: str,
    phase: str,
    began_s: float,
    now_s: float,
    sent: int,
    total: int,
    prefix: str,
    grace_ms: int,
    notes: list[str],
    keys: bool,
) -> Screen:
    """Put a screen together from what is known."""
    settlement = state.counters("settlement")
    dead = {name.partition("|")[2]: count for name, count in settlement.items() if name.startswith("dead|")}
    return Screen(
        title=title,
        phase=phase,
        elapsed_s=now_s - began_s,
        total=total,
        sent=sent,
        consumed=state.consumed((ORDERS.named(prefix), PAYMENTS.named(prefix))),
        per_s=state.rate.per_s,
        time=time_text(state, grace_ms),
        workers=worker_rows(state, kills, now_s),
        applied=settlement["applied"],
        duplicates=settlement["duplicates"],
        dead=settlement["dead"],
        dead_by_reason=dict(sorted(dead.items(), key=lambda item: (-item[1], item[0]))),
        money=money_rows(state.counters("revenue")),
        notes=tuple([*state.trouble(), *notes][-NOTES_MAX:]),
        keys=keys,
    )


def time_text(state: RunState, grace_ms: int) -> str:
    """Say how far the windows are in event time, which minutes are final by that, and what is open when it was looked at."""
    watermark_ms, behind_ms = state.watermark_ms, state.newest_ms - state.watermark_ms
    if not watermark_ms:
        return "no watermark yet"
    if behind_ms > 0:  # a minute is final a grace after its end
        final = f"minutes final up to {_clock(watermark_ms - grace_ms)[:-3]}"
        text = f"watermark {_clock(watermark_ms)}, {behind_ms / 1000:,.0f} s behind the newest event; {final}"
    else:
        text = f"watermark {_clock(watermark_ms)}, past the newest event"
    return text if state.open_count is None else f"{state.open_count:,} windows open, {state.final_count:,} final; {text}"


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S}"


def line(screen: Screen) -> str:
    """Give the screen as one plain line, for a log."""
    workers = ", ".join(f"{row.worker} {row.state}" for row in screen.workers)
    numbers = f"{screen.consumed:,} of {screen.total:,} events, {screen.per_s:,.0f}/s, lag {screen.lag:,}"
    return f"{screen.elapsed_s:5.1f} s  {screen.phase}: {numbers}; {screen.time}; {workers}"


def draw(screen: Screen, width: int, height: int) -> RenderableType:
    """Draw the screen into ``width`` x ``height`` characters, 80 x 24 or more; what does not fit is left out."""
    lines = FIXED_LINES + len(screen.workers) + len(screen.notes)
    space: list[RenderableType] = (
        [Text()] if height >= lines + MONEY_ROWS_MIN else []
    )  # with many workers the empty lines go first
    money_room = max(MONEY_ROWS_MIN, height - lines)
    parts: list[RenderableType] = [
        _title(screen, width),
        _bar(screen, width),
        _numbers(screen),
        _cut(screen.time, width, "cyan"),
        *space,
    ]
    parts += [_workers(screen), *space, _outcomes(screen, width), *space, _money(screen, width, money_room)]
    if screen.notes:
        parts += [*space, *(_cut(note, width, "yellow") for note in screen.notes)]
    if screen.keys:
        parts.append(_cut("k kills a worker (SIGKILL)   q ends the demo", width, "dim"))
    return Group(*parts)


def _title(screen: Screen, width: int) -> Text:
    right = f"{screen.phase}   {screen.elapsed_s:5.1f} s"
    title = Text(screen.title[: max(0, width - len(right) - 2)], style="bold")
    title.append(" " * max(1, width - len(title) - len(right)))
    title.append(right, style="cyan")
    return title


def _bar(screen: Screen, width: int) -> Table:
    bar = ProgressBar(total=max(1, screen.total), completed=screen.consumed, width=width, complete_style="green")
    line_of_its_own = Table.grid()  # a bar alone does not end its line
    line_of_its_own.add_row(bar)
    return line_of_its_own


def _numbers(screen: Screen) -> Text:
    text = Text()
    text.append(f"{screen.consumed:,}", style="bold")
    text.append(f" of {screen.total:,} events   sent {screen.sent:,}   ")
    text.append(f"{screen.per_s:,.0f}", style="bold")
    text.append(" events/s   lag ")
    text.append(f"{screen.lag:,}", style="bold yellow" if screen.lag else "bold")
    return text


def _table(*columns: tuple[str, bool]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    for name, is_number in columns:
        last = name == columns[-1][0]
        table.add_column(
            name, justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis", ratio=1 if last else None
        )
    return table


def _workers(screen: Screen) -> Table:
    columns = (("worker", False), ("pid", True), ("state", False), ("epochs", True), ("aborts", True), ("consumed", True))
    table = _table(*columns, ("tasks", False))
    for row in screen.workers:
        color = _COLORS.get(row.state, "red")
        gone = row.state == "killed"
        table.add_row(
            Text(row.worker, style=color if gone else "bold"),
            Text(str(row.pid), style=color if gone else ""),
            Text(row.state, style=color),
            f"{row.epochs:,}",
            f"{row.aborts:,}",
            "" if gone else f"{row.consumed:,}",
            Text(row.tasks, style=color if gone else ""),
        )
    return table


def _outcomes(screen: Screen, width: int) -> Text:
    text = Text()
    for name, count in (("applied", screen.applied), ("duplicates", screen.duplicates), ("dead letters", screen.dead)):
        text.append(f"{name} ")
        text.append(f"{count:,}", style="bold")
        text.append("   ")
    reasons = "  ".join(f"{reason} {count}" for reason, count in screen.dead_by_reason.items())
    text.append("\n").append(_cut(reasons or "no dead letters yet", width, "dim"))
    return text


def _money(screen: Screen, width: int, rows_max: int) -> Table:
    measures = ("gross", "captured", "refunded", "cancelled") if width >= WIDE_COLUMNS else ("gross", "captured", "refunded")
    table = _table(("in windows", False), ("orders", True), *((name, True) for name in measures), ("", False))
    for row in screen.money[:rows_max]:
        amounts = [money(row.currency, row.amounts[f"{name}_minor"]) for name in measures]
        table.add_row(row.currency, f"{row.amounts['orders_count']:,}", *amounts)
    if not screen.money:
        table.add_row(Text("no totals yet", style="dim"))
    return table


def _cut(text: str, width: int, style: str) -> Text:
    cut = Text(text, style=style, no_wrap=True)
    cut.truncate(width, overflow="ellipsis")
    return cut
