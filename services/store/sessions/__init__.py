"""Sessions at the database: opened where there is an answer, looked at, and replaced when they are dead.

hosts          which host to ask, and whether a failure passes
session_check  what a session must be for us to rely on it
answers        what a session answers, in time and behind a pooler
pool           sessions that are alive, or soon replaced
bell           who waits for facts is told of them
"""
