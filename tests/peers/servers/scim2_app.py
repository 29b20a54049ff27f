"""scim2-server as an application: its own command, on a port that nobody else has.

python scim2_app.py FOLDER TOKEN; keeps everything in memory and prints its base URL when it listens.
"""

import sys

from scim2_server.testserver import cli

_folder, token = sys.argv[1:]
make_server = cli.make_server


def told(host, port, app, **others):
    server = make_server(host, port, app, **others)
    print(f"http://{host}:{server.server_port}/v2", flush=True)
    return server


cli.make_server = told
sys.argv = ["scim2-server", "--port", "0", "--bearer-token", token]
cli.main()
