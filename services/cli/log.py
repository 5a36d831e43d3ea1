"""Commands over the projections: do they say what the log says? And the next version of them."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.credits import format_credits
from schemas.places import Place
from services.cli.exports import archives_in, or_used_wrongly, parse_bound, replay_archives
from services.cli.showing import (
    FOUND_WRONG,
    SHOWN_MAX,
    AsJson,
    WithDatabase,
    or_said,
    print_json,
    print_table,
    progress,
    with_database,
)
from services.runtime.errors import Refused
from services.runtime.settings_loading import catalog_of, exit_used_wrongly, load_settings
from services.store.connect import Connection
from services.store.shards import shard_of

if TYPE_CHECKING:
    from services.audit.replays.outcome import Replayed
    from services.audit.replays.progress import ReplayProgress
    from services.audit.replays.scope import ReplayScope
    from services.export.replaying import Archives as ReadArchives
    from services.export.spans import Bound
    from services.read_models.comparing import RowDifference


Archives = Annotated[
    list[Path] | None, typer.Argument(metavar="[DIR]...", help="Archives, folded without the database.")
]
Since = Annotated[
    str | None,
    typer.Option("--from", help="Compare the activity recorded from here on: an instant, or shard:position."),
]
Until = Annotated[str | None, typer.Option(help="Compare the activity recorded before; balances are left out.")]
Audit = Annotated[
    bool, typer.Option("--audit", help="Check as well that facts follow from facts: prices, refills, payments, caps.")
]
Processes = Annotated[
    int | None, typer.Option(min=1, help="How many processes; one to a core, 16 at most, if not given.")
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Keep in this file which shards are done; a replay that was killed goes on from it."
    ),
]


def replay(
    folders: Archives = None,
    *,
    team: Annotated[str | None, typer.Option(help="Only this team.")] = None,
    since: Since = None,
    until: Until = None,
    audit: Audit = False,
    with_rest: WithDatabase = False,
    processes: Processes = None,
    resume: Resume = None,
    as_json: AsJson = False,
) -> None:
    """Fold the log from its beginning and compare with every table that follows from it.

    Exit code 1 names the first difference. A place stands for the moment of its append. With folders: fold the
    archives, and with --with-database what comes after them, too.

    Example: creditwell replay --audit --resume replay.json
    """
    archives = archives_in(folders) if folders else None
    if archives is not None and not with_rest:
        if resume or processes:
            exit_used_wrongly("--resume and --processes are for the database: give --with-database, too.")
        replay_archives(archives, as_json=as_json)
    bounds, began = (parse_bound(since, "--from"), parse_bound(until, "--until")), monotonic()
    begin = partial(_begin, bounds=bounds, team_id=team, archives=archives, audit=audit, resume=resume)
    run = ReplayRun(*with_database(lambda connection: or_used_wrongly(begin(connection))))
    replayed = _replay(run, processes, resume)
    if team is not None and not replayed.teams:
        exit_used_wrongly(f"there is no team {team!r}.")
    run.seconds = monotonic() - began
    if as_json:
        print_json(_replayed_document(replayed, run))
    else:
        _show_replayed(replayed, run)
    if resume is not None:
        resume.unlink(missing_ok=True)  # it is told: the next replay begins anew
    raise typer.Exit(FOUND_WRONG if replayed.differences or replayed.findings else 0)


@dataclass(slots=True)
class ReplayRun:
    """A replay: what it compares, how far it was when it was taken up, and how long it took from there."""

    scope: "ReplayScope"
    progress: "ReplayProgress"
    done_before: int = 0
    facts_before: int = 0
    seconds: float = 0

    def __post_init__(self) -> None:
        done = self.progress.done.values()
        self.done_before, self.facts_before = len(done), sum(shard.facts for shard in done)


async def _begin(
    connection: Connection,
    *,
    bounds: "tuple[Bound | None, Bound | None]",
    team_id: str | None,
    archives: "ReadArchives | None",
    audit: bool,
    resume: Path | None,
) -> "tuple[ReplayScope, ReplayProgress]":
    """What is compared, and from which moment on; what is done already where a file says so."""
    from services.audit.replays.progress import begin_replay, go_on_with_replay

    scope = await scope_of(connection, bounds, team_id, archives, audit=audit)
    if resume is None:
        return scope, await begin_replay(connection, scope)
    return scope, await go_on_with_replay(connection, scope, resume)


def _replay(run: ReplayRun, processes: int | None, resume: Path | None) -> "Replayed":
    """Without a loop of asyncio around it, so that Ctrl-C is heard at once."""
    from services.audit.replays.all_cores import processes_for, replay_on_all_cores, rest_of, size_of
    from services.audit.replays.progress import save_progress

    size = size_of(rest_of(run.scope, run.progress), run.progress)
    with or_said(), progress("replaying", size) as tell:
        return replay_on_all_cores(
            load_settings().needed("database"), run.scope, run.progress, processes or processes_for(size),
            keep=(lambda _: None) if resume is None else partial(save_progress, resume), on_facts=tell,
        )  # fmt: skip


async def scope_of(
    connection: Connection,
    bounds: "tuple[Bound | None, Bound | None]",
    team: str | None,
    archives: "ReadArchives | None",
    *,
    audit: bool,
) -> "ReplayScope":
    """What a replay compares; a place stands for the moment at which it was recorded.

    Raises:
        Refused: `wrong_bounds`, they are of different shards; `unknown_place`.
    """
    from services.audit.replays.scope import EARLIEST, LATEST, ReplayScope
    from services.export.spans import recorded_at

    places = [bound for bound in bounds if isinstance(bound, Place)]
    shards = {place.shard for place in places} | (set() if team is None else {shard_of(team)})
    if places and len(shards) > 1:
        raise Refused("wrong_bounds", "--from, --until and --team are of different shards")
    since, until = [await recorded_at(connection, bound) if isinstance(bound, Place) else bound for bound in bounds]
    shard = places[0].shard if places else None
    scope = ReplayScope(team, since or EARLIEST, until or LATEST, audit, shard)
    return scope if archives is None else replace(scope, archived=archives.facts, archives=archives.digest)


def _totals(replayed: "Replayed") -> dict[str, dict[str, Any]]:
    return {
        kind.value: {
            "entries": total.entries, "credits": format_credits(total.included + total.additional),
            "included": format_credits(total.included), "additional": format_credits(total.additional),
        }
        for kind, total in sorted(replayed.totals.items())
    }  # fmt: skip


def _replayed_document(replayed: "Replayed", run: ReplayRun) -> dict[str, Any]:
    return {
        "ok": not replayed.differences and not replayed.findings, "facts": replayed.facts,
        "began_at": run.progress.start.at, "behind": run.progress.start.behind, "shards_before": run.done_before,
        "teams": replayed.teams, "totals": _totals(replayed),
        "differences": [difference._asdict() for difference in replayed.differences],
        "more_differences": replayed.more,
        "findings": [finding._asdict() for finding in replayed.findings], "more_findings": replayed.more_findings,
        "seconds": round(run.seconds, 3), "facts_per_s": round((replayed.facts - run.facts_before) / run.seconds),
    }  # fmt: skip


def _show_replayed(replayed: "Replayed", run: ReplayRun) -> None:
    columns = ("type", "entries", "credits", "included", "additional")
    print_table(
        "What the log says",
        columns,
        [(kind, *total.values()) for kind, total in _totals(replayed).items()],
        numbers=columns[1:],
    )
    for difference in replayed.differences[:SHOWN_MAX]:
        print(difference)
    rest = max(0, len(replayed.differences) - SHOWN_MAX) + replayed.more
    print(f"and {rest:,} more" if rest else "", end="\n" if rest else "")
    seconds, rate = run.seconds, (replayed.facts - run.facts_before) / run.seconds
    print(f"{replayed.facts:,} facts of {replayed.teams:,} teams: folded in {seconds:,.1f} s, {rate:,.0f}/s")
    if run.done_before:
        print(f"{run.done_before} shards were compared before: this replay began at {run.progress.start.at}")
    if behind := run.progress.start.behind:
        print(f"{behind:,} newer facts are not in the projections yet: where that stays so, look at the projector")
    print("the projections say something else" if replayed.differences else "the projections say the same")
    for finding in replayed.findings[:SHOWN_MAX]:
        print(finding)
    more = max(0, len(replayed.findings) - SHOWN_MAX) + replayed.more_findings
    print(f"and {more:,} more" if more else "", end="\n" if more else "")
    if run.scope.audit or replayed.findings:
        print("facts do not follow from facts" if replayed.findings else "every fact follows from those before it")


def rebuild(
    name: Annotated[str, typer.Argument(metavar="PROJECTION", help="balance, activity, usage, or all.")],
    *,
    shadow: Annotated[bool, typer.Option(help="Build and compare, and leave the live one as it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the next version of a projection beside the live one, compare, and switch.

    `creditwell rebuild usage` also counts usage by the attributes that the catalog's `count_by` lists by now.

    Exit code 1 shows what differed.

    Example: creditwell rebuild activity
    """
    from projections.versions import TABLES
    from services.read_models.rebuild import live_positions
    from services.read_models.rebuild import rebuild as rebuild_projections

    if name not in (*TABLES, "all"):
        exit_used_wrongly(f"there is no projection {name!r}: write one of {', '.join(TABLES)}, or all.")
    names = list(TABLES) if name == "all" else [name]
    settings = load_settings()
    url, counted = settings.needed("database"), catalog_of(settings).usage.count_by
    folded = 0

    async def work(connection: Connection) -> "list[RowDifference]":
        with progress("rebuilding", sum((await live_positions(connection)).values())) as tell:

            def on_facts(so_far: int, _: int) -> None:
                nonlocal folded
                tell(so_far - folded)
                folded = so_far

            return await rebuild_projections(url, names, shadow=shadow, on_facts=on_facts, counted=counted)

    differences = with_database(work)
    _show_rebuilt(differences, folded, [] if shadow else names, as_json=as_json)
    raise typer.Exit(FOUND_WRONG if differences else 0)


def _show_rebuilt(differences: "list[RowDifference]", folded: int, switched: list[str], *, as_json: bool) -> None:
    if as_json:
        rows = [{"table": d.table, "in": d.found_in, "row": d.row} for d in differences]
        print_json({"ok": not differences, "switched": switched, "facts": folded, "differences": rows})
    else:
        for difference in differences:
            print(f"{difference.table}: only in the {difference.found_in} version: {difference.row}")
        print(f"{folded:,} facts folded; the live version said {'something else' if differences else 'the same'}")
        print(f"switched: {', '.join(switched)}" if switched else "nothing was switched")
