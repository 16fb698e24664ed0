"""Two ranks over gloo that add up a tensor whenever rank 0 is asked."""

import http.server
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def rank(number: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "USE_LIBUV": "0"}
    dist.init_process_group("gloo", rank=number, world_size=2)
    if number == 0:
        serve()
    while True:
        dist.all_reduce(torch.ones(4) * 2)


def serve() -> None:
    steps = [0]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            total = torch.ones(4)
            dist.all_reduce(total)
            steps[0] += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"sum {total[0]:.0f} step {steps[0]}\n".encode())

    http.server.HTTPServer(("127.0.0.1", 8000), Handler).serve_forever()


if __name__ == "__main__":
    mp.spawn(rank, nprocs=2)
