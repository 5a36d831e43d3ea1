"""Witnesses outside: what others sign of an anchor, kept beside it in the folder.

witness       what a witness is, and where its word lies
timestamps    an authority that stamps the time: RFC 3161
cosignatures  a witness that signs only what continues what it has seen: C2SP
asking        the signer asks them for a word on the newest anchor
checking      `verify` checks these words
"""
