"""The operator's door: the command line.

``main`` assembles the commands and turns errors into exit codes; ``desk`` is what every command has in hand;
``api`` speaks to the API's socket, ``pages`` renders for people. No command opens a store.
"""
