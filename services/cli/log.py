"""Commands over the whole log: is it what was recorded, and do the projections say what it says?"""

from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.credits import format_credits
from services.cli.exports import archives_in, check_folders, folders_of, parse_bound, replay_archives, scope_of
from services.cli.proofs import verify_files
from services.cli.showing import (
    FOUND_WRONG,
    AsJson,
    instant_or_none,
    parse_duration,
    print_json,
    print_table,
    progress,
    with_database,
)
from services.runtime.settings import Settings
from services.runtime.settings_loading import exit_used_wrongly, load_settings
from services.store.connect import Connection

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from services.audit.replay import Replayed
    from services.audit.verdict import Verified
    from services.read_models.comparing import RowDifference

SHOWN_MAX = 20


Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[PATH]...", help="Proofs of entries, or folders of exports: checked without the database."),
]
WithDatabase = Annotated[
    bool, typer.Option("--with-database", help="With folders: and what the database has after them.")
]
Anchors = Annotated[Path | None, typer.Option(help="The folder of anchors; CREDITWELL_ANCHORS if not given.")]
PublicKeys = Annotated[list[str] | None, typer.Option(help="Who may have signed; CREDITWELL_PUBLIC_KEY if not given.")]
MaxUnsigned = Annotated[
    str | None,
    typer.Option(
        help="How old the newest checkpoint and anchor may be: 90s, 10m, 2h; twice the anchors' interval if not given."
    ),
]
FromCheckpoint = Annotated[
    int | None, typer.Option(min=1, help="Only what is newer than this checkpoint, which you have verified before.")
]
Unsigned = Annotated[
    bool, typer.Option("--unsigned", help="Look at the log alone: no key, no checkpoint and no age is asked for.")
]


def verify(
    files: Files = None,
    *,
    anchors: Anchors = None,
    public_key: PublicKeys = None,
    max_unsigned: MaxUnsigned = None,
    from_checkpoint: FromCheckpoint = None,
    unsigned: Unsigned = False,
    with_rest: WithDatabase = False,
    as_json: AsJson = False,
) -> None:
    """Check each fact, proof and signed checkpoint of the log, and its fence: constraints, triggers, grants.

    Exit code 1 names the first bad place, and each object that is not what the migrations made. With paths: check these
    proofs, or exports and archives, and nothing else.
    """
    from services.audit.verdict import Verified, what_is_missing
    from services.audit.verify import size_of_log
    from services.audit.verify import verify as verify_log

    settings = load_settings()
    folder = anchors or settings.anchors
    if folder is not None and not folder.is_dir():
        exit_used_wrongly(f"--anchors: {folder} is not a folder.")
    keys = _public_keys(settings, public_key or [])
    folders = folders_of(files or [])
    if files and not folders:
        verify_files(files, keys, unsigned=unsigned, as_json=as_json)
    chosen = parse_duration(max_unsigned, "--max-unsigned")
    age = timedelta(seconds=2 * settings.anchor_every_seconds) if chosen is None else chosen
    began = monotonic()
    exports = check_folders(folders, keys, unsigned=unsigned) if folders else None
    ends = {} if exports is None else exports.ends

    async def work(connection: Connection) -> Verified:
        with progress("verifying", await size_of_log(connection)) as tell:
            verified = await verify_log(
                connection, anchors=folder, keys=keys, from_checkpoint=from_checkpoint, after=ends, on_facts=tell
            )
        if not unsigned:
            now = await connection.fetchval("SELECT clock_timestamp()")
            verified.problems += what_is_missing(verified, now, age, anchors_wanted=folder is not None)
        return verified

    if exports is None:
        verified = with_database(work)
    else:
        verified = exports.verified.and_rest(with_database(work)) if with_rest else exports.verified
    seconds = monotonic() - began
    if as_json:
        print_json(_as_json(verified, seconds))
    else:
        _show(verified, seconds)
    raise typer.Exit(FOUND_WRONG if verified.problems else 0)


def _as_json(verified: "Verified", seconds: float) -> dict[str, Any]:
    return {
        "ok": not verified.problems, "basis": None if verified.problems else verified.basis, "facts": verified.facts,
        "verified_before": verified.verified_before, "blocks": verified.blocks,
        "checkpoints": verified.checkpoints, "anchors": verified.anchors, "signed_facts": verified.signed,
        "signed_at": instant_or_none(verified.signed_at), "signed_by": verified.signed_by,
        "anchored_at": instant_or_none(verified.anchored_at),
        "signatures": "checked" if verified.signatures_checked else "unchecked",
        "problems": [problem._asdict() for problem in verified.problems], "more_problems": verified.more,
        "seconds": round(seconds, 3),
    }  # fmt: skip


def _show(verified: "Verified", seconds: float) -> None:
    if verified.problems:
        shown = verified.problems[:SHOWN_MAX]
        print_table("What is wrong, first place first", ("place", "what"), shown, prose=["what"])
        rest = len(verified.problems) - len(shown) + verified.more
        print(f"and {rest:,} more" if rest else "", end="\n" if rest else "")
    notes = f"{verified.checkpoints:,} signed checkpoints, {verified.anchors:,} anchors"
    print(f"{verified.facts:,} facts in {verified.blocks:,} blocks, {notes}")
    print(f"read in {seconds:,.1f} s, {verified.facts / seconds:,.0f}/s")
    if verified.verified_before:
        print(f"{verified.verified_before:,} older facts were verified before, up to the checkpoint that was given")
    if unsigned := max(0, verified.verified_before + verified.facts - verified.signed):
        print(f"{unsigned:,} facts are newer than the last signed checkpoint")
    print(
        "the log is not what was recorded, or not shown to be, or the fence around it is not what the migrations made"
        if verified.problems
        else f"the log is what was recorded: {verified.basis}"
    )


def _public_keys(settings: Settings, arguments: list[str]) -> "list[Ed25519PublicKey]":
    from services.audit.checkpoints import parse_public_key, parse_signing_key

    texts = arguments or [text.strip() for text in (settings.public_key or "").split(",") if text.strip()]
    try:
        if not texts and settings.signing_key is not None:
            return [parse_signing_key(settings.signing_key.get_secret_value()).public_key()]
        return [parse_public_key(text) for text in texts]
    except ValueError as error:
        exit_used_wrongly(f"--public-key: {error}.")


def replay(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR]...", help="Archives, folded without the database.")
    ] = None,
    *,
    team: Annotated[str | None, typer.Option(help="Only this team.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Compare the activity recorded from here on: an instant, or shard:position."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Compare the activity recorded before; balances are left out.")
    ] = None,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Check as well that facts follow from facts: prices, refills, payments, caps."),
    ] = False,
    with_rest: WithDatabase = False,
    as_json: AsJson = False,
) -> None:
    """Fold the log anew and compare with every table that is made from it; exit code 1 names the first difference.

    A place stands for the append that it was part of. With folders: fold the archives, and with --with-database what
    comes after them, too.
    """
    from services.audit.replay import Replayed, size_of_replay
    from services.audit.replay import replay as replay_log
    from services.store.read import heads

    archives = archives_in(folders) if folders else None
    if archives is not None and not with_rest:
        replay_archives(archives, as_json=as_json)
    bounds = parse_bound(since, "--from"), parse_bound(until, "--until")
    began = monotonic()

    async def work(connection: Connection) -> tuple[Replayed, int]:
        scope = await scope_of(connection, bounds, team, archives, audit=audit)
        folded = await size_of_replay(connection)
        behind = sum((await heads(connection)).values()) - folded
        with progress("replaying", folded) as tell:
            return await replay_log(connection, scope, tell), behind

    replayed, behind = with_database(work)
    seconds = monotonic() - began
    if team is not None and not replayed.teams:
        exit_used_wrongly(f"there is no team {team!r}.")
    totals = _totals(replayed)
    if as_json:
        print_json({
            "ok": not replayed.differences and not replayed.findings, "facts": replayed.facts, "behind": behind, "teams": replayed.teams, "totals": totals,
            "differences": [difference._asdict() for difference in replayed.differences],
            "more_differences": replayed.more,
            "findings": [finding._asdict() for finding in replayed.findings], "more_findings": replayed.more_findings,
            "seconds": round(seconds, 3), "facts_per_s": round(replayed.facts / seconds),
        })  # fmt: skip
    else:
        _show_replayed(replayed, totals, behind, seconds, audit=audit)
    raise typer.Exit(FOUND_WRONG if replayed.differences or replayed.findings else 0)


def _totals(replayed: "Replayed") -> dict[str, dict[str, Any]]:
    return {
        kind.value: {
            "entries": total.entries, "credits": format_credits(total.included + total.additional),
            "included": format_credits(total.included), "additional": format_credits(total.additional),
        }
        for kind, total in sorted(replayed.totals.items())
    }  # fmt: skip


def _show_replayed(
    replayed: "Replayed", totals: "dict[str, dict[str, Any]]", behind: int, seconds: float, *, audit: bool
) -> None:
    columns = ("type", "entries", "credits", "included", "additional")
    print_table(
        "What the log says",
        columns,
        [(kind, *total.values()) for kind, total in totals.items()],
        numbers=columns[1:],
    )
    for difference in replayed.differences[:SHOWN_MAX]:
        print(difference)
    rest = max(0, len(replayed.differences) - SHOWN_MAX) + replayed.more
    print(f"and {rest:,} more" if rest else "", end="\n" if rest else "")
    print(
        f"{replayed.facts:,} facts of {replayed.teams:,} teams: folded in {seconds:,.1f} s, {replayed.facts / seconds:,.0f}/s"
    )
    if behind:
        print(f"{behind:,} newer facts are not in the projections yet: where that stays so, look at the projector")
    print("the projections say something else" if replayed.differences else "the projections say the same")
    for finding in replayed.findings[:SHOWN_MAX]:
        print(finding)
    more = max(0, len(replayed.findings) - SHOWN_MAX) + replayed.more_findings
    print(f"and {more:,} more" if more else "", end="\n" if more else "")
    if audit or replayed.findings:
        print("facts do not follow from facts" if replayed.findings else "every fact follows from those before it")


def rebuild(
    name: Annotated[str, typer.Argument(metavar="PROJECTION", help="balance, activity, usage, or all.")],
    *,
    shadow: Annotated[bool, typer.Option(help="Build and compare, and leave the live one as it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the next version of a projection beside the live one, compare, and switch.

    Exit code 1 shows what differed.
    """
    from services.read_models.rebuild import TABLES, live_positions
    from services.read_models.rebuild import rebuild as rebuild_projections

    if name not in (*TABLES, "all"):
        exit_used_wrongly(f"there is no projection {name!r}: write one of {', '.join(TABLES)}, or all.")
    names = list(TABLES) if name == "all" else [name]
    url = load_settings().needed("database")
    folded = 0

    async def work(connection: Connection) -> "list[RowDifference]":
        with progress("rebuilding", sum((await live_positions(connection)).values())) as tell:

            def on_facts(so_far: int, _: int) -> None:
                nonlocal folded
                tell(so_far - folded)
                folded = so_far

            return await rebuild_projections(url, names, shadow=shadow, on_facts=on_facts)

    differences = with_database(work)
    if as_json:
        rows = [{"table": d.table, "in": d.found_in, "row": d.row} for d in differences]
        print_json({"ok": not differences, "switched": [] if shadow else names, "facts": folded, "differences": rows})
    else:
        for difference in differences:
            print(f"{difference.table}: only in the {difference.found_in} version: {difference.row}")
        print(f"{folded:,} facts folded; the live version said {'something else' if differences else 'the same'}")
        print("nothing was switched" if shadow else f"switched: {', '.join(names)}")
    raise typer.Exit(FOUND_WRONG if differences else 0)
