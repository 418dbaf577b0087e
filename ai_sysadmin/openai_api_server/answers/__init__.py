"""A conversation's way: ``completions`` or ``responses`` → ``front`` → a task, a command, a card, or else the chat."""
