"""An ASGI application that counts what it was asked."""

COUNT = [0]


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    COUNT[0] += 1
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answer %d\n" % COUNT[0]})
