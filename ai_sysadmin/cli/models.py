"""`models`: which model files the layers want, and where they go."""

import typer

from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir, print_json, say

app = typer.Typer(help="The model files.", no_args_is_help=True)

WANTED = (
    ("trigger", "Qwen/Qwen3-1.7B-GGUF", "Qwen3-1.7B-Q8_0.gguf"),
    ("review", "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf"),
    ("meta", "Qwen/Qwen3-14B-GGUF", "Qwen3-14B-Q4_K_M.gguf"),
)


@app.callback()
def group() -> None:
    """The model files."""


@app.command()
def pull(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Say which model files to put where (no download yet).

    This version does not download them itself.
    """
    desk = Desk.open(context, settings, state_dir, as_json)
    directory = desk.settings.models.directory or desk.settings.state_dir / "models"
    why = "this version does not download models; a later one does"
    if desk.as_json:
        files = [{"layer": layer, "repository": place, "file": file} for layer, place, file in WANTED]
        print_json({"error": {"message": why, "exit_code": 1}, "directory": str(directory), "wanted": files})
    else:
        say("\n".join([*_page(str(directory)), "", f"{why[0].upper()}{why[1:]}."]))
    raise typer.Exit(1)


def _page(directory: str) -> list[str]:
    rows = [f"  {layer:8} {file:24} from {place}" for layer, place, file in WANTED]
    start = ["", f"Put them into {directory}, then:", f"  ai-sysadmin up --models {directory}"]
    return ["The layers want these files (any GGUF chat model of about that size will do):", "", *rows, *start]
