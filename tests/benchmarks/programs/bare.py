"""The floor of the row ``collector``: the same server, with an application that only reads a body."""

import socket

import uvicorn

_START = {"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"20")]}
_END = {"type": "http.response.body", "body": b'{"status":"created"}'}


async def application(_scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_END)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        config = uvicorn.Config(application, log_config=None, access_log=False, lifespan="off", ws="none")
        uvicorn.Server(config).run(sockets=[listener])
