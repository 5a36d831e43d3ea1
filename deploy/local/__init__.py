"""Everything Creditwell needs on one machine: a real Kafka, a real PostgreSQL, its own processes.

All of it is gone afterwards.

    stack                Kafka and PostgreSQL, from the environment, in containers, or native
    servers              each of them, and the topics
    world                a whole Creditwell on a stack: tables, logins, teams, processes
    teams                the teams that it has, with their plans and members
    processes            our services as child processes: started, stopped, killed, frozen by name
    forkserver           the same without the start of a Python for each
    forking              the server behind it, which has loaded everything
    stripe               a stand-in for Stripe
    receiver             a host product that takes notices
    demo                 `make demo`: a play with four teams
    children             processes that can't outlive us
    guard                cleans up after us, however we end
    owners               who started a stack, so that another terminal can end it
    folders              where the state lies, and ports that nobody else takes
    waiting              until a server of others is ready
    together             several slow steps at once
    trouble              what may go wrong at the start, with the way out
    say                  progress for people
    uv_without_pip       the pinned uv where Python comes without pip

`setup.sh` makes `.venv`, `check.sh` is `make check`, `browser.sh` and `node.sh` fetch what tests of pages need.
"""
