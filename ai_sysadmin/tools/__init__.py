"""Read-only look-ups shaped for a model: typed functions, bounded in what goes in, how long they take, what comes out.

``tool`` says what a tool is. ``toolbox`` holds those of a host and opens a conversation, ``looks`` calls them in it
(checks, time, redaction, size, handles). The tools: ``units``, ``logs``, ``processes``, ``memory``, ``disks``,
``reachability``, ``figures``, ``hardware``, ``certificates``, ``files``, ``nixos``, ``nixos_options``,
``configuration``, ``known``, and what an operator
declares (``declared``). ``host_tools`` puts all of a host together.
"""
