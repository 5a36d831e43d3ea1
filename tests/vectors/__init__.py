"""Logs and proofs for verifiers, with what each must find.

    python -m tests.vectors       writes the files of this folder anew

A file of a log has `lines`, as docs/log-format.md has them, `anchors`, the `public_key`, and `finding`: where the first
finding begins, or null. A file of a proof has `proof` and `finding`. Whoever writes a verifier of their own can test it
with these. `making` tells the histories.
"""
