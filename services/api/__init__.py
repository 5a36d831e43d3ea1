"""The API and the Usage page: reads, commands, and a stream of what changes.

    access      who may do what, in one place
    balances activity usage streams rates quotes reporting teams gifts top_up     the routes, by meaning
    webhook     what Stripe says has happened: a signature instead of a token
    once        commands that may come twice
    problems    what goes wrong, in one form
    pages       the files of the Usage page

It holds nothing that can't be read again: any number of them may run side by side.
"""

from services.api.app import create_app
from services.api.serving import serve

__all__ = ["create_app", "serve"]
