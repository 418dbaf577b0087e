"""The API on the matrix's host: its own application on real sockets, and who asks it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from typer.testing import CliRunner

from ai_sysadmin.cli.main import app as command_line
from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.meta_model.proposals import Proposals
from ai_sysadmin.openai_api_server.app import Knowing, Parts, build
from ai_sysadmin.openai_api_server.gate.keys import ensure_api_key
from ai_sysadmin.openai_api_server.server import serve, sockets
from ai_sysadmin.testing.api import FixedHealth, ScriptedChat
from tests.matrix.cells import Cell
from tests.matrix.host import MatrixHost
from tests.services.api_harness import nothing_to_index


@asynccontextmanager
async def api(host: MatrixHost) -> AsyncIterator[str]:
    """Serve the API while the block lasts; yield a key of it."""
    settings, stores = host.settings, host.stores
    proposals = Proposals(settings, stores.proposals, stores.reader, host.systemd, SystemClock())
    knowing = Knowing(Retrieval(stores.knowledge, None, None, minimum_similarity=0.2), nothing_to_index)
    key = ensure_api_key(settings.api_key_file)
    parts = Parts(settings, stores, ScriptedChat(), host.propose, {"review": FixedHealth()}, knowing, proposals)
    with sockets(settings) as listening:
        serving = asyncio.create_task(serve(build(parts), listening))
        try:
            yield key
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def by_api(host: MatrixHost, cells: Sequence[Cell]) -> None:
    """Whoever has a key proposes over HTTP."""
    async with (
        api(host) as key,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{host.settings.api.port}",
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=10,
        ) as http,
    ):
        for cell in cells:
            wanted = {"name": cell.name, "arguments": cell.arguments, "why": "it should be so"}
            response = await http.post("/v1/system/actions", json=wanted)
            assert response.status_code == 200, response.text
        await host.settled(len(cells))


async def by_command_line(host: MatrixHost, cells: Sequence[Cell]) -> None:
    """An operator on the host types `ai-sysadmin actions propose`."""
    file = host.settings.state_dir / "settings.json"
    file.write_text(json.dumps(host.settings.model_dump(mode="json", exclude_unset=True)))
    async with api(host):
        for cell in cells:
            given = [f"{name}={value}" for name, value in cell.arguments.items()]
            argv = ["actions", "propose", cell.name, *given, "--why", "it should be so", "--settings", str(file)]
            done = await asyncio.to_thread(CliRunner().invoke, command_line, argv)
            assert done.exit_code == 0 or isinstance(done.exception, Refused), (done.output, done.exception)
        await host.settled(len(cells))
