# pyproject.toml's dependencies, by their names in nixpkgs; a test holds the two together.
python: with python; [
  dbus-fast
  fastapi
  httpx
  openai
  psutil
  pydantic
  rich
  tenacity
  typer
  uvicorn
]
