"""`make bench-peers`: the main job on this product, Kafka's client alone and other stream processors, side by side in one run."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from bench import shape
from bench.main_job import Bench, failures_said
from bench.main_topology import MAIN_JOB
from bench.peers.build import BuildError
from bench.peers.findings import LatencyRun, RestoreRun, TakeoverRun
from bench.peers.judge import judge_peer
from bench.peers.programs import PEERS, Peer, Run
from bench.peers.report import LIMIT, OURS, PeerReport, PeerRun
from bench.peers.run import Backlog, drained_ends, figures_of, follow, forget
from bench.peers.trials import COMFORTABLE, Trials
from bench.product import ProductError
from connectors.ground_truth import Truth, truth_of
from connectors.sources.generator import Plan, plan
from streams.local_broker import LocalBroker
from streams.settings import Settings

ORDERS = 220_000
"""Some 670,000 events: virtual machines are warm long before the end, and the limit takes seconds."""
SLOW_ORDERS = 20_000
"""Some 61,000: for those who take a minute for that."""
WARM_UP_ORDERS = 5_000
Trial = TypeVar("Trial", LatencyRun, RestoreRun, TakeoverRun)
MEASURES = ("throughput", "latency", "restore", "takeover")


class Comparison:
    """The peers that are asked for, on one broker, one plan and one truth."""

    def __init__(self, bench: Bench, folder: Path, sent: Plan, truth: Truth) -> None:
        self._bench = bench
        self._folder = folder
        self._sent = sent
        self._truth = truth
        self._shape_file = folder / f"shape-of-{len(sent.sent)}.json"

    def run(self, peer: Peer, label: str, repeat: int) -> PeerRun:
        """Publish the plan to a prefix of the peer's own, let it run, and judge what it committed.

        A peer that dies or stalls is a run without figures: the others go on.
        """
        name = f"{peer.name}-{label}"
        settings = self._bench.publish(name, self._sent)
        folder = self._folder / name
        folder.mkdir()
        run = Run(settings, folder, self._shape_file, self._bench.broker_pid)
        backlog = Backlog.of(settings.cluster, settings.prefix, peer.group_id(settings), peer.internal)
        self._bench.say(f"{name}: runs", now=True)
        started_at_s = time.monotonic()
        try:
            with peer.start(run) as workers:
                samples = follow(
                    backlog, workers, self._bench.broker_pid, lambda at: self._bench.say(f"{name}: {at}"),
                    ends_itself=peer.ends_itself,
                )  # fmt: skip
                for worker in workers:
                    if worker.process.poll() is None:
                        worker.stop()
            figures = figures_of(samples, backlog, drained_ends(backlog, samples))
        except ProductError as error:
            return PeerRun(peer.name, repeat, None, right=False, start_s=0.0, said=(str(error),))
        begin_s = next(sample.moment.at_s for sample in samples if backlog.committed_count(sample.committed))
        right, said = self._judged(peer, settings, backlog.events_count)
        if right:
            forget(settings, folder)
        return PeerRun(peer.name, repeat, figures, right, begin_s - started_at_s, said)

    def _judged(self, peer: Peer, settings: Settings, events_count: int) -> tuple[bool, tuple[str, ...]]:
        if not peer.is_judged:
            return True, ("not judged: it decides nothing",)
        self._bench.say(f"{settings.prefix.rstrip('.')}: the judge reads what it committed", now=True)
        judged = judge_peer(settings, self._truth, is_ours=peer.is_ours)
        if peer.name == OURS:
            shape.save(shape.measure(settings.cluster, settings.prefix, events_count, MAIN_JOB), self._shape_file)
        return judged.exact, tuple(judged.lines())


def in_turn(peers: Sequence[Peer], repeat: int) -> list[Peer]:
    """Give the order of one repeat: each begins with another one, but product-1 runs before the limit, which writes the same."""
    at = (repeat - 1) % len(peers)
    order = [*peers[at:], *peers[:at]]
    names = [peer.name for peer in order]
    if LIMIT in names and OURS in names and names.index(LIMIT) < names.index(OURS):
        order.append(order.pop(names.index(LIMIT)))
    return order


def chosen(names: str) -> list[Peer]:
    """Give the peers that ``--peers`` names.

    Raises:
        click.BadParameter: there is no such peer, or the limit without product-1.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in PEERS]
    if unknown or not wanted:
        raise click.BadParameter(f"there is no peer {', '.join(unknown) or 'without a name'}; there are {', '.join(PEERS)}")
    if LIMIT in wanted and OURS not in wanted:
        raise click.BadParameter(f"{LIMIT} writes the records that {OURS} wrote: name {OURS} too")
    return [PEERS[name] for name in dict.fromkeys(wanted)]


def measures(names: str) -> tuple[str, ...]:
    """Give what ``--measure`` names.

    Raises:
        click.BadParameter: there is no such thing to measure.
    """
    wanted = tuple(name.strip() for name in names.split(",") if name.strip())
    unknown = [name for name in wanted if name not in MEASURES]
    if unknown or not wanted:
        raise click.BadParameter(f"{', '.join(unknown) or 'nothing'} cannot be measured; there are {', '.join(MEASURES)}")
    return wanted


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--peers", "names", default=",".join(PEERS), show_default=True, help="Which, with commas between them.")
@click.option("--measure", "what", default=",".join(MEASURES), show_default=True, help="What, with commas between them.")
@click.option("--orders", default=ORDERS, show_default=True, type=click.IntRange(min=100), help="Orders; about 3 events each.")
@click.option("--slow-orders", default=SLOW_ORDERS, show_default=True, type=click.IntRange(min=100), help="Of the slow peers.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Runs of each peer, in turn.")
@click.option("--seed", default=1, show_default=True, help="Of the orders and payments.")
@click.option("--warm-up/--no-warm-up", default=True, show_default=True, help="A small run of each before, which does not count.")
@click.option(
    "--pace", type=click.FloatRange(min=1), help="Events/s where time is measured; else half of what each showed on the backlog."
)
@click.option("--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything as JSON.")
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the plot as SVG.")
def main(
    names: str,
    what: str,
    orders: int,
    slow_orders: int,
    repeats: int,
    seed: int,
    pace: float | None,
    report_file: Path | None,
    plot_file: Path | None,
    *,
    warm_up: bool,
) -> None:
    """Compare peers on the main job: settlement and minute revenue, with all rules, exactly once.

    Same broker, same events, one after the other. A run counts when every row that it committed is right.
    bench/README.md says how to read the figures, and how each peer is configured.

    \b
    Examples:
      make bench-peers
      make bench-peers ARGS="--report peers.json --plot docs/peers.svg"
      python -m bench.peers.main --peers product-1,kafka-streams --orders 2000 --repeats 1 --no-warm-up

    Exit codes: 0 measured, 1 a run was not right or failed, 2 asked for wrongly, 3 Kafka cannot run on this
    machine, or what a peer is built with is missing.
    """  # noqa: D301 - \b is click's word for "keep these lines"
    peers = chosen(names)
    arguments = {
        "peers": [peer.name for peer in peers], "orders": orders, "slow_orders": slow_orders, "repeats": repeats, "seed": seed,
        "warm_up": warm_up, "measure": measures(what), "pace": pace,
    }  # fmt: skip
    try:
        for peer in peers:
            peer.prepare()
    except BuildError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(3)
    with failures_said():
        report = measure(peers, arguments)
    click.echo("\n".join(report.lines()))
    if report_file is not None:
        report.write(report_file)
        click.echo(f"report: {report_file}")
    if plot_file is not None:
        plot_file.write_text(report.plot(), encoding="utf-8")
        click.echo(f"plot: {plot_file}")
    sys.exit(0 if report.exact else 1)


def measure(peers: Sequence[Peer], arguments: dict[str, Any]) -> PeerReport:
    """Run every peer as often as asked, in turn; then what is measured once, at a pace.

    Raises:
        TallyError, ReadError, PublishError: Kafka could not be started, or did not answer.
    """
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as folder, LocalBroker(Path(folder) / "broker") as broker:
        bench = Bench(broker, Path(folder))
        settings = bench.settings("any")
        configurations = {peer.name: dict(peer.configuration(settings)) for peer in peers}
        report = PeerReport(arguments, {peer.name: peer.what for peer in peers}, configurations)
        if "throughput" in arguments["measure"]:
            _throughput(bench, Path(folder), peers, report)
        found, trials = report.found, Trials(bench, Path(folder), arguments["seed"])
        if "latency" in arguments["measure"]:
            found.latencies += _each_said(_latency(trials, peers, report))
        if "restore" in arguments["measure"]:
            found.restores += _each_said(_restore(trials, peers, report))
        if "takeover" in arguments["measure"]:
            found.takeovers += _each_said(_takeover(trials, peers, report))
        return report


def _throughput(bench: Bench, folder: Path, peers: Sequence[Peer], report: PeerReport) -> None:
    orders, slow_orders, repeats, seed = (report.arguments[name] for name in ("orders", "slow_orders", "repeats", "seed"))

    def comparison(orders: int, seed: int) -> Comparison:
        bench.say(f"{orders:,} orders and the truth about them are made", now=True)
        sent = plan(orders, seed)
        return Comparison(bench, folder, sent, truth_of(sent))

    if report.arguments["warm_up"]:
        warm_up = comparison(min(WARM_UP_ORDERS, orders), seed + 1)
        for peer in in_turn(peers, 1):
            _say_run(warm_up.run(peer, "warm-up", 0))
    many = comparison(orders, seed)
    few = comparison(slow_orders, seed) if any(peer.is_slow for peer in peers) else many
    for repeat in range(1, repeats + 1):
        for peer in in_turn(peers, repeat):
            report.runs.append((few if peer.is_slow else many).run(peer, str(repeat), repeat))
            _say_run(report.runs[-1])


def _latency(trials: Trials, peers: Sequence[Peer], report: PeerReport) -> Iterator[LatencyRun]:
    """Measure each peer at its own pace, and product-1 at the pace of each that is not ours."""
    ours = next((peer for peer in peers if peer.name == OURS), None)
    for peer in peers:
        pace = pace_of(peer, report)
        if pace is None:
            continue
        yield trials.latency(peer, peer.name, pace)
        if ours is not None and not peer.is_ours:
            yield trials.latency(ours, peer.name, pace)


def _restore(trials: Trials, peers: Sequence[Peer], report: PeerReport) -> Iterator[RestoreRun]:
    for peer in peers:
        if peer.is_judged:
            yield from trials.restore(peer, report.arguments["slow_orders" if peer.is_slow else "orders"])


def _takeover(trials: Trials, peers: Sequence[Peer], report: PeerReport) -> Iterator[TakeoverRun]:
    for peer in peers:
        pace = pace_of(peer, report)
        if pace is not None:
            yield from trials.takeover(peer, pace)


def pace_of(peer: Peer, report: PeerReport) -> float | None:
    """Give the events/s at which a peer is comfortable; None for who decides nothing, or has shown nothing."""
    if not peer.is_judged:
        return None
    shown = report.spread(peer.name, "events_per_s")
    asked: float | None = report.arguments["pace"]
    return asked or (shown.median * COMFORTABLE if shown is not None else None)


def _each_said(runs: Iterable[Trial]) -> Iterator[Trial]:
    """Tell what was found as each run ends, and what was wrong with it."""
    for run in runs:
        click.echo(f"  {run.line()}")
        if not run.right:
            click.echo("\n".join(run.said), err=True)
        yield run


def _say_run(run: PeerRun) -> None:
    """Tell the figures of a run as it ends, and what was wrong with it."""
    label, figures = f"  {run.peer} {run.repeat or 'warm-up'}", run.figures
    if figures is not None:
        click.echo(
            f"{label}: {figures.events_per_s:,.0f} events/s, {figures.cpu_us_per_event:.1f} µs CPU per event, "
            f"peak RSS {figures.rss_bytes_max >> 20:,} MiB, first commit after {run.start_s:.1f} s"
        )
    elif run.right:
        click.echo(f"{label}: right, and too quick to be measured: take more orders (--orders)")
    if not run.right:
        click.echo("\n".join(run.said), err=True)


if __name__ == "__main__":
    main()
