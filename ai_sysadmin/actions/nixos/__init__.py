"""Changes of the NixOS configuration: literals, the file they are written to, how they are built, what came of it.

``literals``, ``changes_file``, ``dry_run`` and ``results`` are pure, and all that the executor uses. The rest runs in
units of its own, as the user who builds (``building``, ``drafting``) or as root without rights (``rehearsal``).
"""
