# pyproject.toml's dependencies, by their names in nixpkgs; a test holds the two together.
python: with python; [
  apprise
  cryptography
  dbus-fast
  fastapi
  httpx
  openai
  prompt-toolkit
  psycopg
  psycopg-pool
  pydantic
  pyjwt
  rich
  systemd-python
  tenacity
  typer
  uvicorn
]
