"""Where a worker's time goes: one worker on a backlog under cProfile, all its threads, functions by their own time."""

from __future__ import annotations

import cProfile
import pstats
import sys
import tempfile
import threading
import time
from pathlib import Path

import click

if __package__ in {None, ""}:  # run as a file: only its own folder is on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.main_job import Bench
from bench.product import ProductError, run_backlog
from connectors.sources.generator import plan
from streams.cli import main as tally
from streams.errors import TallyError
from streams.local_broker import LocalBroker

CHILD = "--as-worker"
"""First argument of the process that is profiled: then the clock, the file for the profile, tally's arguments."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--orders", default=30_000, show_default=True, type=click.IntRange(min=100), help="Orders; about 3 events each.")
@click.option("--top", default=40, show_default=True, help="Functions to print.")
@click.option("--clock", type=click.Choice(["cpu", "wall"]), default="cpu", show_default=True, help="What counts as time.")
@click.option("--sort", type=click.Choice(["tottime", "cumtime", "ncalls"]), default="tottime", show_default=True)
@click.option("--stats", "stats_file", type=click.Path(dir_okay=False, path_type=Path), help="Keep the profile (pstats).")
def main(orders: int, top: int, clock: str, sort: str, stats_file: Path | None) -> None:
    """Profile one worker on a backlog, on a broker of its own.

    cProfile charges every Python call about a microsecond, so many small functions look dearer than
    they are: read the order, not the seconds, and prove a change with `make bench`.

    \b
    Examples:
      python -m bench.profile_worker
      python -m bench.profile_worker --clock wall --sort cumtime
      python -m bench.profile_worker --stats worker.pstats && python -m pstats worker.pstats

    Exit codes: 0 profiled, 1 the worker failed, 2 asked for wrongly, 3 Kafka cannot run on this machine.
    """  # noqa: D301 - \b is click's word for "keep these lines"
    try:
        with tempfile.TemporaryDirectory(prefix="tally-profile-") as folder, LocalBroker(Path(folder) / "broker") as broker:
            file = stats_file or Path(folder) / "worker.pstats"
            bench = Bench(broker, Path(folder))
            settings = bench.publish("profile", plan(orders))
            program = (sys.executable, str(Path(__file__).resolve()), CHILD, clock, str(file.resolve()))
            figures = run_backlog(settings, Path(folder) / "worker.log", bench.broker_pid, bench.say, program)
            click.echo(f"{figures.events_count:,} events, {figures.cpu_us_per_event:.1f} µs CPU per event under the profiler")
            pstats.Stats(str(file)).sort_stats(sort).print_stats(top)
    except (TallyError, ProductError) as error:
        click.echo(f"profile: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, TallyError) else 1)


def profiled_worker(clock: str, stats_file: str) -> None:
    """Be ``tally`` with a profile on every thread, and write what they say, added up, when it has ended."""
    timer = time.thread_time if clock == "cpu" else time.perf_counter
    profiles: list[cProfile.Profile] = []
    run = threading.Thread.run

    def profiled_run(self: threading.Thread) -> None:
        profile = cProfile.Profile(timer)
        try:
            profile.enable()
        except ValueError:  # from Python 3.12 on the main thread's profile sees all threads, and is the only one
            run(self)
            return
        profiles.append(profile)
        try:
            run(self)
        finally:
            profile.disable()

    threading.Thread.run = profiled_run  # type: ignore[method-assign]
    whole = cProfile.Profile(timer)
    whole.enable()
    try:
        tally()
    finally:
        whole.disable()
        stats = pstats.Stats(whole)
        for profile in profiles:
            stats.add(profile)
        stats.dump_stats(stats_file)


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        clock_name, file_name = sys.argv[2:4]
        sys.argv[1:4] = []
        profiled_worker(clock_name, file_name)
    else:
        main()
