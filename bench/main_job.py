"""`make bench`: one worker on the demo's job beside the limit, same broker, same run, interleaved; and restores."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import shape
from bench.figures import Figures
from bench.limit import Result, Spec
from bench.main_topology import MAIN_WORKER, NOT_IN_MAIN
from bench.poison import BAD_RATIO, Poison
from bench.product import ROOT, ProductError, Restore, restore, run_backlog
from bench.report import Pair, Report, pair_lines
from connectors.ground_truth import Truth, truth_of
from connectors.judge import Terms, judge
from connectors.reader import ReadError
from connectors.sources.generator import Dead, DeadOrUnmatched, Plan, plan
from connectors.sources.publish import PublishError, publish
from connectors.verdict import Problem
from schemas.topics import TOPICS
from streams.admin import admin_client, apply_topics
from streams.errors import TallyError
from streams.local_broker import LocalBroker
from streams.settings import Settings

WARM_UP_ORDERS = 10_000
"""Some 30,000 events through worker and limit before anything counts: until then the broker's virtual machine compiles."""
LIMIT_TIMEOUT_S = 300.0


class BenchError(Exception):
    """The benchmark cannot go on; the sentence says why."""


@contextmanager
def failures_said() -> Iterator[None]:
    """End a benchmark that failed with a sentence and its exit code, in place of a traceback."""
    try:
        yield
    except TallyError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(error.exit_code)
    except (BenchError, ProductError, ReadError, PublishError) as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(1)


class Bench:
    """One broker, one folder, and everything that runs on them."""

    def __init__(self, broker: LocalBroker, folder: Path) -> None:
        self._broker = broker
        self._folder = folder
        self.broker_pid = 0 if broker.container else broker.pid
        self._said_at_s = 0.0

    def settings(self, name: str) -> Settings:
        """Give the worker's settings; TALLY_ variables of the environment count, so that settings can be compared."""
        return Settings(
            bootstrap_servers=self._broker.bootstrap_servers,
            client_config_file="",  # which is for a cluster of somebody's own
            home=self._folder / name,
            prefix=f"{name}.",
            worker_id="b1",
            web_port=0,
        )

    def publish(self, name: str, sent: Plan, **changes: object) -> Settings:
        """Make the topics under a fresh prefix and send the plan ahead of time."""
        settings = self.settings(name).model_copy(update=changes)
        self.say(f"{name}: {len(sent.sent):,} events to the inputs", now=True)
        apply_topics(admin_client(settings), TOPICS, settings.prefix)
        publish(sent, settings.cluster, settings.prefix)
        return settings

    def pair(self, name: str, sent: Plan, truth: Truth) -> tuple[Settings, Pair]:
        """Run the product on the plan, judge it, run the limit on the same inputs, and the main job alone on the same plan.

        Raises:
            ProductError: the worker died, stopped moving, or did not end well.
            BenchError: the limit could not be measured.
        """
        settings = self.publish(name, sent)
        self.say(f"{name}: the product runs", now=True)
        product = run_backlog(
            settings, self._folder / f"{name}.worker.log", self.broker_pid, lambda at: self.say(f"{name}: product, {at}")
        )
        self.say(f"{name}: the judge reads what it committed", now=True)
        verdict = judge(settings.cluster, settings.prefix, settings.group_id, truth, Terms.of(settings))
        stages = shape.measure(settings.cluster, settings.prefix, product.events_count)
        shape_file = self._folder / f"{name}.shape.json"
        shape.save(stages, shape_file)
        self.say(f"{name}: the limit runs on the same inputs", now=True)
        limit = self._limit(settings, shape_file, f"{name}.limit.")
        per_event = shape.per_event(stages, product.events_count)
        main, wrong = self._main(f"{name}-main", sent, truth)
        exact, said = verdict.exact and not wrong, [verdict.headline(), *(f"main job: {problem}" for problem in wrong)]
        return settings, Pair(
            product, exact, "\n".join(said), limit.figures, limit.epochs_count, limit.aborts_count, per_event, main
        )

    def _main(self, name: str, sent: Plan, truth: Truth) -> tuple[Figures, list[Problem]]:
        """Run the main job alone on the plan; give its figures, and what is wrong in the topics that it writes."""
        settings = self.publish(name, sent)
        self.say(f"{name}: the main job runs alone", now=True)
        log_file = self._folder / f"{name}.worker.log"
        figures = run_backlog(settings, log_file, self.broker_pid, lambda at: self.say(f"{name}: main job, {at}"), MAIN_WORKER)
        verdict = judge(settings.cluster, settings.prefix, settings.group_id, truth, Terms.of(settings))
        return figures, [problem for problem in verdict.problems if problem.topic not in NOT_IN_MAIN]

    def product(self, name: str, sent: Plan, **changes: object) -> tuple[Figures, bool]:
        """Run the product, with ``changes`` to its settings, on a plan; give its figures, and whether every row was right.

        Raises:
            ProductError: the worker died, stopped moving, or did not end well.
        """
        settings = self.publish(name, sent, **changes)
        log_file = self._folder / f"{name}.worker.log"
        figures = run_backlog(settings, log_file, self.broker_pid, lambda at: self.say(f"{name}: product, {at}"))
        verdict = judge(settings.cluster, settings.prefix, settings.group_id, truth_of(sent), Terms.of(settings))
        if not verdict.exact:
            click.echo(verdict.headline(), err=True)
        return figures, verdict.exact

    def poison(self, number: int, orders: int, seed: int) -> Poison:
        """Run the same orders clean and with bad records among them; every other time in the other order."""
        plans = {"clean": plan(orders, seed, bad_ratio=0), "poisoned": plan(orders, seed, bad_ratio=BAD_RATIO)}
        names = sorted(plans, reverse=number % 2 == 0)
        runs = {name: self.product(f"{name}-{number}", plans[name]) for name in names}
        dead_count = sum(isinstance(sent.expected, Dead | DeadOrUnmatched) for sent in plans["poisoned"].sent)
        return Poison(runs["clean"][0], runs["poisoned"][0], dead_count, all(exact for _, exact in runs.values()))

    def restore(self, settings: Settings, number: int, of: int) -> Restore:
        """Start the worker of an earlier run again without its stores.

        Raises:
            ProductError: it died, or its tasks did not run within a minute.
        """
        self.say(f"restore {number} of {of}", now=True)
        return restore(settings, self._folder / f"restore-{number}.worker.log")

    def _limit(self, settings: Settings, shape_file: Path, output_prefix: str) -> Result:
        apply_topics(admin_client(settings), TOPICS, output_prefix)
        spec = Spec.of(settings, output_prefix=output_prefix, shape_file=shape_file, broker_pid=self.broker_pid)
        spec_file = shape_file.with_suffix(".spec.json")
        spec_file.write_bytes(msgspec.json.encode(spec))
        ended = subprocess.run(
            [sys.executable, "-m", "bench.limit", str(spec_file)],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_TIMEOUT_S,
        )  # fmt: skip
        if ended.returncode != 0:
            raise BenchError(f"the limit could not be measured: {ended.stderr.strip()}")
        return msgspec.json.decode(ended.stdout, type=Result)

    def say(self, what: str, *, now: bool = False) -> None:
        """Tell what runs, at most once a second."""
        if now or time.monotonic() - self._said_at_s >= 1:
            self._said_at_s = time.monotonic()
            click.echo(f"[{time.strftime('%H:%M:%S')}] {what}", err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--orders", default=60_000, show_default=True, type=click.IntRange(min=100), help="Orders; about 3 events each.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Pairs of product and limit.")
@click.option("--restores", default=3, show_default=True, type=click.IntRange(min=0), help="Restores after the last run.")
@click.option("--poisons", default=3, show_default=True, type=click.IntRange(min=0), help="Pairs without and with bad records.")
@click.option("--seed", default=1, show_default=True, help="Of the orders and payments.")
@click.option("--warm-up/--no-warm-up", default=True, show_default=True, help="A small pair before, which does not count.")
@click.option("--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything as JSON.")
def main(orders: int, repeats: int, restores: int, poisons: int, seed: int, report_file: Path | None, *, warm_up: bool) -> None:
    """Measure one worker on the demo's job beside the limit, on a broker of its own.

    Each pair sends the events ahead of time, runs one worker on them, judges every row that it
    committed, and runs the limit (bench/limit.py) on the same events. Then restores, and the same orders
    without and with a tenth of bad records. bench/README.md says how to read the figures.

    \b
    Examples:
      make bench
      make bench ARGS="--report bench.json"
      python -m bench.main_job --orders 5000 --repeats 1 --no-warm-up
      TALLY_EPOCH_RECORDS_MAX=4000 make bench

    Exit codes: 0 measured, 1 a run was not EXACT or failed, 2 asked for wrongly, 3 Kafka cannot run on this machine.
    """  # noqa: D301 - \b is click's word for "keep these lines"
    arguments = {
        "orders": orders, "repeats": repeats, "restores": restores, "poisons": poisons, "seed": seed, "warm_up": warm_up,
    }  # fmt: skip
    with failures_said():
        report = _measure(arguments)
    click.echo("\n".join(report.lines()))
    if report_file is not None:
        report.write(report_file)
        click.echo(f"report: {report_file}")
    sys.exit(0 if report.exact else 1)


def _measure(arguments: dict[str, Any]) -> Report:
    sent = plan(arguments["orders"], arguments["seed"])
    truth = truth_of(sent)
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as folder, LocalBroker(Path(folder) / "broker") as broker:
        bench = Bench(broker, Path(folder))
        if arguments["warm_up"]:
            small = plan(min(WARM_UP_ORDERS, arguments["orders"]), arguments["seed"] + 1)
            bench.pair("warm-up", small, truth_of(small))
        report = Report(arguments, bench.settings("run"), len(sent.sent))
        for number in range(1, arguments["repeats"] + 1):
            settings, pair = bench.pair(f"run-{number}", sent, truth)
            report.pairs.append(pair)
            click.echo("\n".join(pair_lines(number, pair)))
            if not pair.exact:
                click.echo(pair.verdict, err=True)
        for number in range(1, arguments["restores"] + 1):
            report.restores.append(bench.restore(settings, number, arguments["restores"]))
        for number in range(1, arguments["poisons"] + 1):
            report.poisons.append(bench.poison(number, arguments["orders"], arguments["seed"]))
            click.echo(report.poisons[-1].line(number))
        return report


if __name__ == "__main__":
    main()
