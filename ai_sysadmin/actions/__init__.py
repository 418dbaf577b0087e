"""What may be done at all, who may do it, and how a proposal reaches the executor.

``action`` is what an entry of the ``catalogue`` is; the catalogue is closed: a model names an entry and code checks its
arguments. ``remedies`` says which of them are offered for an incident. ``policy`` is the readable table of autonomy and
risk, ``breakers`` how often something is done without a person. ``client`` speaks ``protocol`` to the executor's
sockets; ``courier`` carries requests there and events back.

Changes of a NixOS system: ``nixos/`` builds one without rights, ``ladder`` has the command lines that activate a system
and take it back, ``activation`` judges it by what ``system_seen`` and ``system_units`` see. ``standalone/`` are
programs of the standard library alone that transient units start. ``audit_chain`` is the audit's form. ``trust``,
``promotion`` and ``periods`` are the report on how far proposals could be trusted. ``describing`` writes
docs/actions.md.
"""
