"""A server of Google Cloud Storage on loopback, `gcp-storage-emulator`, with a bucket `kd-bucket`.

It ignores two things that the real service has, which are added: an upload on the condition that
there is no object of the name, and the refusal (405) of moving objects within a bucket of this
kind, after which gcsfs copies them.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus

MISSING = [
    name for name in ("gcp_storage_emulator", "gcsfs") if importlib.util.find_spec(name) is None
]


def serve() -> None:
    """Serves until it is killed; prints the port once it is ready."""
    from gcp_storage_emulator import server
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    def conditional(upload):
        def insert(request, response, storage):
            if request.query.get("ifGenerationMatch") == ["0"]:
                meta = request.data.get("meta", request.data)
                name = request.query.get("name", [meta.get("name")])[0]
                try:
                    storage.get_file_obj(request.params["bucket_name"], name)
                    response.status = HTTPStatus.PRECONDITION_FAILED
                    return
                except NotFound:
                    pass
            upload(request, response, storage)

        return insert

    objects._multipart_upload = conditional(objects._multipart_upload)
    objects._create_resumable_upload = conditional(objects._create_resumable_upload)
    post = server.RequestHandler.do_POST

    def do_post(self):
        if "/moveTo/" not in self.path:
            post(self)
            return
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Content-Length", "0")
        self.end_headers()

    server.RequestHandler.do_POST = do_post
    emulator = server.create_server("127.0.0.1", 0, True, "kd-bucket")
    emulator.start()
    print(emulator._api._httpd.server_port, flush=True)
    threading.Event().wait()


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """Yields the environment in which `gs://kd-bucket` is the server's bucket."""
    server = subprocess.Popen(
        [sys.executable, __file__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        yield os.environ | {
            "STORAGE_EMULATOR_HOST": url,
            "TENSORSTORE_GCS_HTTP_URL": url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


if __name__ == "__main__":
    serve()
