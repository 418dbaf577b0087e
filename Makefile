# make run    the whole suite in the foreground, in an environment of its own; ARGS="--models DIR" and the like
# make test   everything that must hold, the quickest first
# make lint   the first seconds of that

.PHONY: run test lint bench test-crash test-openwebui lock

run:
	@exec tools/bootstrap base ai-sysadmin up $(ARGS)

test:
	@exec tools/bootstrap dev tools/test

lint:
	@exec tools/bootstrap dev tools/test lint

# every measurement that is kept; each says what it measured
bench:
	@tools/bootstrap dev sh -ec 'for each in bench/[!_]*.py; do echo "== $$each"; python "$$each"; done'

# kill every service at every stage, and the executor at every write, with power cuts: more than a hundred times
test-crash:
	@exec tools/bootstrap dev python -m pytest -q tests/system/test_crash.py tests/system/test_undone.py $(ARGS)

# the real Open WebUI in a real Chromium: about a gigabyte, kept in .cache/openwebui; ARGS names scenarios
test-openwebui:
	@exec tools/test-openwebui $(ARGS)

# pin the requirements anew; ARGS=--upgrade takes newer versions
lock:
	@exec tools/lock $(ARGS)
